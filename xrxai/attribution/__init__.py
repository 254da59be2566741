"""Attribution methods: one file per family, a public function and its kernel each."""

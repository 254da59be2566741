// What a page that stands alone does with its widgets and taps; `store` is what page.py packed.
// Runs anew for every event; what lasts is in the models.
const {nx, ny, step, n_features, axis, texts} = store
const NONE = -32768
const at = (array, scale, i) => (array[i] === NONE ? NaN : array[i] * scale)
const target = target_select === null ? 0 : store.targets.indexOf(target_select.value)
const summed = sum_box !== null && sum_box.active
const feature = feature_slider === null ? 0 : store.slider_order[feature_slider.value]

function room(values, zero) {
  const finite = Array.from(values).filter(Number.isFinite)
  if (zero) finite.push(0)
  if (finite.length === 0) return [0, 1]
  const low = finite.reduce((a, b) => Math.min(a, b)), high = finite.reduce((a, b) => Math.max(a, b))
  const margin = 0.06 * (high - low) || Math.abs(high) * 0.1 || 1
  return [low - margin, high + margin]
}

function quantile(values, q) {
  const sorted = Float64Array.from(values).sort()
  const place = q * (sorted.length - 1), below = Math.floor(place)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (place - below) * (sorted[above] - sorted[below])
}

function limits_of(image, signed) {
  const sizes = Array.from(image).filter(Number.isFinite).map(Math.abs)
  if (sizes.length === 0) return [-1, 1]
  const top = sizes.reduce((a, b) => Math.max(a, b))
  if (top === 0) return [-1, 1]
  const limit = quantile(sizes, signed ? 0.98 : 0.99) || top
  return [signed ? -limit : 0, limit]
}

function draw_map() {
  const image = values.data.image[0]
  const whole = summed && n_features > 0
  const array = whole ? store.sums[target] : store.values[target]
  const scale = whole ? store.sum_scales[target] : store.scales[target]
  const offset = whole ? 0 : feature * ny * nx
  for (let i = 0; i < ny * nx; i++) image[i] = at(array, scale, offset + i)
  values.change.emit()
  const own = own_box !== null && own_box.active && !whole
  const [low, high] = own
    ? limits_of(image, store.signed)
    : whole ? store.sum_limits[target] : store.limits[target]
  mapper.low = low
  mapper.high = high
}

function line(read) {
  return Float64Array.from(axis.line, (band) => (band < 0 ? NaN : read(band)))
}

function draw_bars(names, shown, low, high, picked = -1) {
  const flat = Array.from(shown, (v) => (Number.isFinite(v) ? v : 0))
  const colour = flat.map((v) => store.colours[v >= 0 ? 0 : 1])
  bars_figure.visible = names.length > 0
  const factors = Array.from(names).reverse()
  if (JSON.stringify(bars_figure.y_range.factors) !== JSON.stringify(factors)) {
    bars_figure.y_range.factors = factors
  }
  const line = colour.map((c, i) => (i === picked ? "black" : c))
  bars.data = {name: names, value: shown, shown: flat, low, high, colour, line}
  const [start, end] = room([...shown, ...low, ...high], true)
  bars_figure.x_range.setv({start, end})
}

function draw_pixel(row, column) {
  const i = row * nx + column
  if (marker !== null && store.taps) {
    marker.data = {
      x: [store.left + (column + 0.5) * store.width / nx],
      y: [store.bottom + (row + 0.5) * store.height / ny],
    }
  }
  const r = store.flip_y ? ny - 1 - row : row, c = store.flip_x ? nx - 1 - column : column
  const span = (a, n) => {
    const last = Math.min((a + 1) * step, n) - 1
    return last > a * step ? `${a * step}–${last}` : `${a * step}`
  }
  const words = `row ${span(r, store.rows)}, column ${span(c, store.columns)}`
  const where = step > 1 ? `Mean of pixels: ${words}` : `Pixel: ${words}`
  if (spectrum !== null && store.cube !== null) {
    const y = line((band) => at(store.cube, store.cube_scale, band * ny * nx + i))
    spectrum.data = {x: spectrum.data.x, y}
    const [start, end] = room([...y, ...typical.data.low, ...typical.data.high], false)
    spectrum_figure.y_range.setv({start, end: end + store.headroom * (end - start)})
    spectrum_figure.title.text = where
  }
  let found = store.plain === null ? null : store.plain[target]
  if (store.per_pixel) {
    found = Float64Array.from({length: Math.max(n_features, 1)}, (_, f) =>
      at(store.values[target], store.scales[target], f * ny * nx + i))
  }
  if (bands !== null) {
    const value = Float64Array.from(store.quads, (f) => found[f])
    const flat = value.map((v) => (Number.isFinite(v) ? v : 0))
    bands.data = {
      ...bands.data, value,
      top: flat.map((v) => Math.max(v, 0)), bottom: flat.map((v) => Math.min(v, 0)),
      colour: Array.from(flat, (v) => store.colours[v >= 0 ? 0 : 1]),
    }
    const [start, end] = room(value, true)
    bands_figure.y_range.setv({start, end: spectrum === null ? end + store.headroom * (end - start) : end})
    bands_figure.title.text = store.per_pixel && store.cube === null ? where : texts.bands[target]
  }
  if (store.fixed_bars !== null) {
    const b = store.fixed_bars[target]
    const here = store.ids === null ? "" : `${store.ids[i]}`
    draw_bars(b.names, b.values, b.low, b.high, b.names.indexOf(here))
    return
  }
  const names = store.bar_names
  const shown = store.kind === "map"
    ? names.map((_, t) => at(store.values[t], store.scales[t], i))
    : store.members.map((member) => {
        const inside = Array.from(member, (f) => found[f]).filter(Number.isFinite)
        return inside.length ? inside.reduce((a, b) => a + b) : NaN
      })
  const none = names.map(() => NaN)
  draw_bars(names, shown, none, none, store.kind === "map" ? target : -1)
}

if (cb_obj.event_name === "tap" || cb_obj.event_name === "doubletap") {
  const column = Math.floor((cb_obj.x - store.left) / store.width * nx)
  const row = Math.floor((cb_obj.y - store.bottom) / store.height * ny)
  if (!store.taps || column < 0 || row < 0 || column >= nx || row >= ny) return
  pixel.data = {row: [row], column: [column]}
  draw_pixel(row, column)
  return
}
headline.text = texts.headlines[target]
for (const mark of marks) {
  mark.visible = axis !== null && axis.x !== null && n_features > 0 && !summed
  if (mark.visible) mark.location = axis.x[feature]
}
if (feature_slider !== null) {
  const label = store.slider_labels[feature_slider.value]
  map_figure.title.text = summed ? texts.sum : `${texts.one}, ${label}`
}
if (store.values.length > 0) draw_map()
draw_pixel(pixel.data.row[0], pixel.data.column[0])

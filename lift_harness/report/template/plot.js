// Plots as SVG, drawn for the width they have, so that texts are as large on a phone as on a screen.
//
// chart({title, sub, x, y, series, tall}):
//   x, y     {label, kind: 'linear' | 'log' | 'band', names (of bands), ticks, domain, whole (numbers), share,
//            zero (to be on the axis), format (of ticks), tip (of the same elsewhere)}
//   series   {name, row, points: [{x, y, low, high, note}], line, band, marks, ring, raw, dash, label, step}
//            `row` gives colour, marker and dash; `raw` are points drawn thin and faint behind the line.

const HEIGHT = 250;
const TALL = 320;

function chart(spec) {
  const box = el('div', { class: spec.tall ? 'plot tall' : 'plot' });
  const figure = el(
    'figure',
    { class: 'chart' },
    caption(spec.title, spec.sub, box),
    spec.key || null,
    box,
    numbers(spec),
  );
  let width = 0;
  const draw = () => {
    if (width > 0) box.replaceChildren(drawing(spec, width, box));
  };
  const observer = new ResizeObserver(() =>
    requestAnimationFrame(() => {
      const found = Math.floor(box.clientWidth);
      if (found !== width) {
        width = found;
        draw();
      }
    }),
  );
  observer.observe(box);
  redraws.push(draw);
  return figure;
}

function caption(title, sub, box) {
  return el(
    'figcaption',
    {},
    title,
    saveButton(sub ? `${title}, ${sub}` : title, box),
    sub ? el('span', { class: 'sub' }, sub) : null,
  );
}

function shown(spec) {
  return spec.series.filter((series) => series.row === undefined || !hidden.has(series.row));
}

function drawing(spec, width, box) {
  const height = spec.tall ? TALL : HEIGHT;
  const all = shown(spec);
  const frame = axes(spec, all, width, height);
  const root = svg(
    'svg',
    { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': describe(spec) },
    frame.nodes,
  );
  if (!all.length) {
    root.append(
      svg(
        'text',
        { x: width / 2, y: height / 2, 'text-anchor': 'middle', class: 'tick' },
        'all rows are hidden',
      ),
    );
  }
  const spots = [];
  all.forEach((series, i) => root.append(drawSeries(series, i, all.length, frame, spots)));
  if (spec.labels) root.append(labels(spots, width, frame));
  hover(root, spots, spec, box);
  return root;
}

// Grid, ticks and labels; gives {at(point, series), nodes, left, right, top, bottom}.
function axes(spec, all, width, height) {
  const points = all.flatMap((series) => [...series.points, ...(series.raw || [])]);
  const format = (axis) => axis.format || short;
  const [lowY, highY] =
    spec.y.domain ||
    padded(extent(points.flatMap((p) => [p.y, p.low, p.high].filter((v) => Number.isFinite(v)))), spec.y);
  const top = 24;
  const turned =
    spec.x.kind === 'band' && Math.max(...spec.x.names.map(textWidth)) > (width - 60) / spec.x.names.length;
  const names = (spec.x.names || []).map((name) => (name.length > 14 ? `${name.slice(0, 13)}\u2026` : name));
  const bottom = height - (turned ? 26 + 0.72 * Math.max(...names.map(textWidth)) : 40);
  const scaleOf = (axis, domain, range, wanted) =>
    axis.kind === 'log' ? logarithmic(domain, range, wanted) : linear(domain, range, wanted, axis.whole);
  const y = scaleOf(spec.y, [lowY, highY], [bottom, top], Math.max(2, Math.round((bottom - top) / 36)));
  const left = 12 + Math.max(...y.ticks.map((v) => textWidth(format(spec.y)(v))));
  const right = width - (spec.labels ? 16 : 12);
  const x =
    spec.x.kind === 'band'
      ? bands(names, [left, right])
      : scaleOf(
          spec.x,
          spec.x.domain || extent(points.map((p) => p.x)),
          [left + 6, right - 6],
          Math.max(2, Math.round((right - left) / 75)),
        );
  const nodes = [];
  for (const v of y.ticks) {
    nodes.push(
      svg('line', { x1: left, x2: right, y1: y.at(v), y2: y.at(v), class: 'grid' }),
      svg('text', { x: left - 6, y: y.at(v) + 4, 'text-anchor': 'end', class: 'tick' }, format(spec.y)(v)),
    );
  }
  let last = -Infinity;
  for (const v of spec.x.ticks || x.ticks) {
    const text = spec.x.kind === 'band' ? names[v] : format(spec.x)(v);
    const at = x.at(v);
    const half = textWidth(text) / 2;
    if (!turned && at - half < last + 4) continue;
    last = at + half;
    nodes.push(svg('line', { x1: at, x2: at, y1: bottom, y2: bottom + 4, class: 'axis' }));
    nodes.push(
      turned
        ? svg(
            'text',
            {
              x: at,
              y: bottom + 12,
              transform: `rotate(-40 ${at} ${bottom + 12})`,
              'text-anchor': 'end',
              class: 'tick',
            },
            text,
          )
        : svg(
            'text',
            { x: Math.min(at, width - half), y: bottom + 17, 'text-anchor': 'middle', class: 'tick' },
            text,
          ),
    );
  }
  nodes.push(
    svg('line', { x1: left, x2: right, y1: bottom, y2: bottom, class: 'axis' }),
    svg('text', { x: 0, y: 11, class: 'label' }, spec.y.label),
    svg('text', { x: right, y: height - 3, 'text-anchor': 'end', class: 'label' }, spec.x.label),
  );
  const at = (point, dodge) => [x.at(point.x) + (dodge || 0), y.at(point.y)];
  return { at, x, y, nodes, left, right, top, bottom, step: x.step };
}

function padded([low, high], axis) {
  if (axis.kind === 'log') return [low, high];
  const pad = (high - low) * 0.06;
  const from = axis.zero ? Math.min(0, low) : low - pad;
  return axis.share ? [Math.max(0, axis.zero ? 0 : from), Math.min(1, high + pad)] : [from, high + pad];
}

function drawSeries(series, i, n, frame, spots) {
  const style =
    series.row === undefined
      ? { colour: series.colour || 'var(--muted)', marker: 'circle', dash: series.dash || '' }
      : rowStyle(series.row);
  const dodge = frame.step && n > 1 ? (i - (n - 1) / 2) * Math.min(14, (frame.step * 0.76) / n) : 0;
  const dash = series.dash === undefined ? style.dash : series.dash;
  const group = svg('g', { class: series.thin ? 'series thin' : 'series' });
  const points = series.points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
  const path = (list) =>
    list
      .map(
        (p, k) =>
          `${k ? 'L' : 'M'}${frame
            .at(p, dodge)
            .map((v) => v.toFixed(1))
            .join(' ')}`,
      )
      .join('');
  if (series.raw) group.append(svg('path', { d: path(series.raw), class: 'raw', stroke: style.colour }));
  const certain = series.silent ? [] : points; // of stairs the points are those of other series
  const banded = certain.filter((p) => Number.isFinite(p.low) && Number.isFinite(p.high));
  if (series.band && banded.length > 1) {
    const edge = [
      ...banded.map((p) => ({ x: p.x, y: p.high })),
      ...banded.map((p) => ({ x: p.x, y: p.low })).reverse(),
    ];
    group.append(svg('path', { d: `${path(edge)}Z`, class: 'band', fill: style.colour }));
  } else {
    for (const p of banded) {
      const [px] = frame.at(p, dodge);
      group.append(
        svg('line', {
          x1: px,
          x2: px,
          y1: frame.y.at(p.low),
          y2: frame.y.at(p.high),
          class: 'whisker',
          stroke: style.colour,
        }),
      );
    }
  }
  if (series.line)
    group.append(
      svg('path', {
        d: series.step ? stairs(points, frame, series.step === 'down') : path(points),
        class: 'line',
        stroke: style.colour,
        'stroke-dasharray': dash,
      }),
    );
  for (const p of points) {
    const [px, py] = frame.at(p, dodge);
    if (series.ring) {
      group.append(svg('circle', { cx: px, cy: py, r: 10, class: 'ring', stroke: style.colour }));
    }
    if (series.marks) group.append(marker(style, px, py, series.size || 4));
    if (!series.silent) spots.push({ x: px, y: py, series, point: p, style });
  }
  return group;
}

// From the left: to what costs more and scores higher, or (`down`) what is faster and scores lower.
function stairs(points, frame, down) {
  return points
    .map((p, k) => {
      const [px, py] = frame.at(p).map((v) => v.toFixed(1));
      if (!k) return `M${px} ${py}`;
      return down ? `V${py}H${px}` : `H${px}V${py}`;
    })
    .join('');
}

// The names of points beside them: where nothing is in the way and no other point is as near, else nowhere
// (the key above the plots has the markers).
function labels(spots, width, frame) {
  const taken = spots.map((spot) => ({ x: spot.x - 7, y: spot.y + 5, size: 14 }));
  const group = svg('g', {});
  const most = width > 480 ? 36 : 18; // letters of a name
  for (const spot of [...spots].sort((a, b) => a.y - b.y)) {
    const { name } = spot.series;
    const text = name.length > most ? `${name.slice(0, most - 1)}\u2026` : name;
    const size = textWidth(text);
    const away = (other, [x, y]) =>
      Math.hypot(Math.max(x - other.x, 0, other.x - x - size), Math.max(y - 8 - other.y, 0, other.y - y));
    const free = (place) =>
      place[0] >= frame.left &&
      place[0] + size <= width &&
      place[1] > frame.top - 6 &&
      place[1] < frame.bottom - 3 &&
      taken.every(
        (p) => place[0] + size < p.x || p.x + p.size < place[0] || Math.abs(p.y - place[1]) >= 12,
      ) &&
      spots.every((other) => other === spot || away(other, place) > away(spot, place) + 4);
    const places = [-9, 15, 4].flatMap((dy) => [
      [spot.x + 8, spot.y + dy, 'start'],
      [spot.x - 8 - size, spot.y + dy, 'end'],
    ]);
    const [x, y, anchor] = places.find(free) || [];
    if (x === undefined) continue;
    taken.push({ x, y, size });
    group.append(
      svg('text', { x: anchor === 'end' ? x + size : x, y, 'text-anchor': anchor, class: 'tick name' }, text),
    );
  }
  return group;
}

// ------------------------------------------------------------ shares that add up to one

// parts: [{name, shade, values}] over xs, from the bottom.
function stacked({ title, sub, x, xs, parts }) {
  const y = {
    label: 'share of rows, %',
    share: true,
    domain: [0, 1],
    format: (v) => percent(v, 0),
    tip: percent,
  };
  let below = xs.map(() => 0);
  const series = parts.map((part) => {
    const points = xs.map((v, i) => ({ x: v, y: part.values[i] }));
    const area = {
      name: part.name,
      shade: part.shade,
      points,
      low: below,
      high: below.map((b, i) => b + part.values[i]),
    };
    below = area.high;
    return area;
  });
  const spec = { title, sub, x, y, series, height: 190 };
  const box = el('div', { class: 'plot low' });
  let width = 0;
  const draw = () => {
    if (!width) return;
    const frame = axes(spec, series, width, spec.height);
    const edge = (values, i) => [frame.x.at(xs[i]).toFixed(1), frame.y.at(values[i]).toFixed(1)].join(' ');
    const order = xs.map((_, i) => i);
    const areas = series.map((area) =>
      svg('path', {
        class: 'area',
        fill: area.shade,
        d: `M${[...order.map((i) => edge(area.high, i)), ...[...order].reverse().map((i) => edge(area.low, i))].join('L')}Z`,
      }),
    );
    const root = svg(
      'svg',
      {
        width,
        height: spec.height,
        viewBox: `0 0 ${width} ${spec.height}`,
        role: 'img',
        'aria-label': describe(spec),
      },
      areas,
      frame.nodes,
    );
    const spots = series.flatMap((area) =>
      area.points.map((point, i) => ({
        x: frame.x.at(point.x),
        y: frame.y.at((area.low[i] + area.high[i]) / 2),
        series: area,
        point,
        style: { colour: 'var(--ink)' },
      })),
    );
    hover(root, spots, spec, box);
    box.replaceChildren(root);
  };
  new ResizeObserver(() =>
    requestAnimationFrame(() => {
      const found = Math.floor(box.clientWidth);
      if (found !== width) {
        width = found;
        draw();
      }
    }),
  ).observe(box);
  const key = el(
    'div',
    { class: 'legend still' },
    parts
      .map((part) =>
        el(
          'span',
          { class: 'key' },
          svg(
            'svg',
            { width: 14, height: 14, 'aria-hidden': 'true' },
            svg('rect', { width: 14, height: 14, rx: 2, fill: part.shade }),
          ),
          part.name,
        ),
      )
      .reverse(),
  );
  return el(
    'figure',
    { class: 'chart' },
    caption(title, sub, box),
    key,
    box,
    numbers(spec),
  );
}

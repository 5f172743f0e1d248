// Elements from data. Texts of a run are not trusted: they only ever become text nodes.

const SVG = 'http://www.w3.org/2000/svg';
const DATA = JSON.parse(document.getElementById('data').textContent);

// el('button', {class: 'x', onclick: f, 'aria-pressed': 'true'}, 'text', node, ...)
function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

// New children, however nested, in place of the old ones.
function put(node, ...children) {
  node.replaceChildren();
  return fill(node, null, children);
}

// Characters that would not show, or would change the order of what follows, as what they are.
function visible(text) {
  return text
    .replace(/\r\n/g, '\n')
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, '\u2421')
    .replace(
      /[\u0080-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
      (c) => `\u27e8U+${hex(c)}\u27e9`,
    )
    .replace(
      /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
      (c) => `\u27e8U+${hex(c)}\u27e9`,
    );
}

function hex(character) {
  return character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
}

function percent(share, digits) {
  return fixed(100 * share, digits === undefined ? 1 : digits);
}

// As the tables of the terminal: exactly between two numbers the even one is taken (toFixed: the larger).
function fixed(value, digits) {
  const size = Math.abs(value);
  const behind = size.toFixed(20).split('.')[1].slice(digits);
  if (!/^50*$/.test(behind)) return value.toFixed(digits);
  const below = Math.floor(size * 10 ** digits);
  const even = (below + (below % 2)) / 10 ** digits;
  return (Math.sign(value) * even).toFixed(digits);
}

// 1234567 as 1,234,567; 0.00012345 as 1.23e-4
function plain(value) {
  if (value === null || value === undefined) return '';
  if (Number.isInteger(value)) return value.toLocaleString('en-US');
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  if (size < 0.001) return value.toExponential(2).replace('e-0', 'e-');
  return String(Number(value.toPrecision(4)));
}

function count(n, noun) {
  return `${n.toLocaleString('en-US')} ${noun}${n === 1 ? '' : 's'}`;
}

function duration(seconds) {
  if (seconds < 120) return `${plain(Number(seconds.toPrecision(3)))} s`;
  if (seconds < 7200) return `${plain(Number((seconds / 60).toPrecision(3)))} min`;
  return `${plain(Number((seconds / 3600).toPrecision(3)))} h`;
}

// A labelled choice; `options` are [value, text].
function choice(label, options, value, onchange, id) {
  const input = el(
    'select',
    { id, onchange: () => onchange(input.value) },
    options.map(([key, text]) => el('option', { value: key }, text)),
  );
  input.value = value;
  return el('label', { class: 'choice' }, el('span', {}, label), input);
}

// A section; `short` is its name in the navigation.
function section(id, title, short, ...children) {
  return el(
    'section',
    { id, 'data-short': short, 'aria-labelledby': `${id}-title` },
    el('h2', { id: `${id}-title`, tabindex: '-1' }, title),
    children,
  );
}

// A table from rows of texts or nodes, the first column as row headers.
function table(head, rows, attributes) {
  return el(
    'div',
    { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'table' },
    el(
      'table',
      attributes,
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          head.map((text) => el('th', { scope: 'col' }, text)),
        ),
      ),
      el(
        'tbody',
        {},
        rows.map((row) =>
          el(
            'tr',
            {},
            row.map((cell, i) => (i ? el('td', {}, cell) : el('th', { scope: 'row' }, cell))),
          ),
        ),
      ),
    ),
  );
}

// ------------------------------------------------------------ rows

// The one row that all others are compared with; of several models in a sweep there is none.
const BASELINES = [...new Set(Object.values(DATA.baselines))];

function isBaseline(row) {
  return row === 'base' || (BASELINES.length === 1 && BASELINES[0] === row);
}

// The base model, or a sweep's baseline, is grey; methods have a colour, a marker and, past the colours, a dash each.
const COLOURS = 7;
const MARKERS = ['circle', 'square', 'triangle', 'diamond', 'down', 'cross'];
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];

function rowStyle(row) {
  if (isBaseline(row)) return { colour: 'var(--s-base)', marker: 'circle', dash: '' };
  const i = Math.max(0, DATA.rows.filter((name) => !isBaseline(name)).indexOf(row));
  return {
    colour: `var(--s${i % COLOURS})`,
    marker: MARKERS[(i + 1) % MARKERS.length],
    dash: DASHES[Math.floor(i / COLOURS) % DASHES.length],
  };
}

// Rows that a reader has switched off, in every plot.
const hidden = new Set();
const redraws = [];

function legend(rows) {
  const buttons = rows.map((row) => {
    const style = rowStyle(row);
    const key = svg(
      'svg',
      { width: 26, height: 14, 'aria-hidden': 'true' },
      svg('line', {
        x1: 1,
        x2: 25,
        y1: 7,
        y2: 7,
        stroke: style.colour,
        'stroke-width': 2,
        'stroke-dasharray': style.dash,
      }),
      marker(style, 13, 7, 4.5),
    );
    const button = el(
      'button',
      {
        type: 'button',
        class: 'key',
        'aria-pressed': 'true',
        'data-row': row,
        title: `Show or hide ${row} in all plots`,
        onclick: () => {
          if (!hidden.delete(row)) hidden.add(row);
          redraws.forEach((redraw) => redraw());
        },
      },
      key,
      row,
    );
    redraws.push(() => button.setAttribute('aria-pressed', String(!hidden.has(row))));
    return button;
  });
  return el('div', { class: 'legend', role: 'group', 'aria-label': 'Rows shown in the plots' }, buttons);
}

function marker(style, x, y, r) {
  const shape = { fill: style.colour, stroke: 'var(--surface)', 'stroke-width': 1 };
  const path = (points) =>
    svg('path', { d: `M${points.map((p) => p.map((v) => v.toFixed(1)).join(' ')).join('L')}Z`, ...shape });
  switch (style.marker) {
    case 'square':
      return svg('rect', { x: x - r * 0.9, y: y - r * 0.9, width: r * 1.8, height: r * 1.8, ...shape });
    case 'triangle':
      return path([
        [x, y - r * 1.2],
        [x + r * 1.15, y + r * 0.9],
        [x - r * 1.15, y + r * 0.9],
      ]);
    case 'down':
      return path([
        [x, y + r * 1.2],
        [x + r * 1.15, y - r * 0.9],
        [x - r * 1.15, y - r * 0.9],
      ]);
    case 'diamond':
      return path([
        [x, y - r * 1.3],
        [x + r * 1.3, y],
        [x, y + r * 1.3],
        [x - r * 1.3, y],
      ]);
    case 'cross':
      return svg('path', {
        d: `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`,
        stroke: style.colour,
        'stroke-width': 2.5,
        fill: 'none',
      });
    default:
      return svg('circle', { cx: x, cy: y, r, ...shape });
  }
}

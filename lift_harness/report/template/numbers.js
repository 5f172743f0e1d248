// The numbers of a plot: under the pointer, and as a table.

// ------------------------------------------------------------ what a pointer shows

const tip = document.getElementById('tip');

// A pointer over a point, or arrow keys from point to point, show its numbers.
function hover(root, spots, spec, box) {
  const ring = svg('circle', { r: 7, class: 'ring', visibility: 'hidden' });
  root.append(ring);
  let at = -1;
  const leave = () => {
    tip.hidden = true;
    ring.setAttribute('visibility', 'hidden');
  };
  const show = (spot) => {
    const place = box.getBoundingClientRect();
    at = spots.indexOf(spot);
    ring.setAttribute('cx', spot.x);
    ring.setAttribute('cy', spot.y);
    ring.setAttribute('stroke', spot.style.colour);
    ring.setAttribute('visibility', 'visible');
    showTip(tipLines(spot, spec), place.left + spot.x, place.top + spot.y);
  };
  const move = (event) => {
    const place = box.getBoundingClientRect();
    const [x, y] = [event.clientX - place.left, event.clientY - place.top];
    let nearest = null;
    let best = 45 ** 2;
    for (const spot of spots) {
      const far = (spot.x - x) ** 2 + (spot.y - y) ** 2;
      if (far < best) [nearest, best] = [spot, far];
    }
    if (nearest) show(nearest);
    else leave();
  };
  root.addEventListener('pointermove', move);
  root.addEventListener('pointerdown', move);
  root.addEventListener('pointerleave', leave);
  root.setAttribute('tabindex', 0);
  root.addEventListener('blur', leave);
  root.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !spots.length) return;
    event.preventDefault();
    show(spots[Math.min(spots.length - 1, Math.max(0, at + step))]);
  });
}

function tipLines({ series, point }, spec) {
  const y = (spec.y.tip || spec.y.format || plain)(point.y);
  const lines = [series.name, `${spec.y.label.split(',')[0]} ${y}${spec.y.share ? ' %' : ''}`];
  if (Number.isFinite(point.low)) {
    const format = spec.y.tip || spec.y.format || plain;
    lines.push(`95 % interval ${format(point.low)} to ${format(point.high)}`);
  }
  lines.push(
    spec.x.kind === 'band'
      ? `${spec.x.label}: ${spec.x.names[point.x]}`
      : `${spec.x.label}: ${(spec.x.tip || plain)(point.x)}`,
  );
  if (point.note) lines.push(point.note);
  return lines;
}

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line, i) => el(i ? 'div' : 'strong', {}, line)));
  tip.hidden = false;
  const left = Math.min(x + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = y - tip.offsetHeight - 10;
  tip.style.left = `${Math.max(8, left) + window.scrollX}px`;
  tip.style.top = `${(above < 4 ? y + 14 : above) + window.scrollY}px`;
}

// ------------------------------------------------------------ the same as texts

function describe(spec) {
  return `${spec.title}. ${spec.y.label} by ${spec.x.label}: ${spec.series.map((s) => s.name).join(', ')}. The numbers are in the table below the plot.`;
}

// A table of what is plotted, made when it is asked for.
function numbers(spec) {
  const details = el('details', { class: 'numbers' }, el('summary', {}, 'Numbers'));
  details.addEventListener('toggle', () => {
    if (!details.open || details.children.length > 1) return;
    const format = spec.y.tip || spec.y.format || plain;
    const rows = spec.series
      .filter((series) => !series.silent)
      .flatMap((series) =>
        series.points.map((p) => [
          series.name,
          spec.x.kind === 'band' ? spec.x.names[p.x] : (spec.x.tip || plain)(p.x),
          Number.isFinite(p.y) ? format(p.y) : '',
          Number.isFinite(p.low) ? `${format(p.low)} to ${format(p.high)}` : '',
          p.note || '',
        ]),
      );
    details.append(table(['', spec.x.label, spec.y.label, '95 % interval', ''], rows));
  });
  return details;
}

// ------------------------------------------------------------ the plot as a file

const PAINT = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'opacity'];
const LETTERS = ['paint-order', 'font-family', 'font-size'];

// A button that saves the plot as it is, with the colours of this theme written into it.
function saveButton(title, box) {
  const save = () => {
    const drawn = box.querySelector('svg');
    const copy = drawn.cloneNode(true);
    const copies = [copy, ...copy.querySelectorAll('*')];
    [drawn, ...drawn.querySelectorAll('*')].forEach((node, i) => {
      const style = getComputedStyle(node);
      for (const name of node.tagName === 'text' ? [...PAINT, ...LETTERS] : PAINT)
        copies[i].setAttribute(name, style.getPropertyValue(name));
    });
    const back = getComputedStyle(document.body).backgroundColor;
    copy.prepend(svg('rect', { width: '100%', height: '100%', fill: back }));
    const text = new XMLSerializer().serializeToString(copy);
    const url = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }));
    el('a', { href: url, download: `${title.replace(/[^\w@.-]+/g, '-')}.svg` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };
  const name = `Save ${title} as SVG`;
  return el('button', { type: 'button', class: 'save', 'aria-label': name, onclick: save }, 'SVG');
}

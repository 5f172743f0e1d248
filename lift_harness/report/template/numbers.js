// The numbers of a plot: under the pointer, and as a table.

// ------------------------------------------------------------ what a pointer shows

const tip = document.getElementById('tip');

function hover(root, spots, spec, box) {
  const ring = svg('circle', { r: 7, class: 'ring', visibility: 'hidden' });
  root.append(ring);
  const leave = () => {
    tip.hidden = true;
    ring.setAttribute('visibility', 'hidden');
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
    if (!nearest) return leave();
    ring.setAttribute('cx', nearest.x);
    ring.setAttribute('cy', nearest.y);
    ring.setAttribute('stroke', nearest.style.colour);
    ring.setAttribute('visibility', 'visible');
    showTip(tipLines(nearest, spec), place.left + nearest.x, place.top + nearest.y);
    return undefined;
  };
  root.addEventListener('pointermove', move);
  root.addEventListener('pointerdown', move);
  root.addEventListener('pointerleave', leave);
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

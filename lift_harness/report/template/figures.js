// The sections with plots of the results.

function grid(charts) {
  return el('div', { class: 'grid' }, charts);
}

// Ticks with a digit behind the point only where they are not whole.
const isWhole = (v) => Math.abs(v - Math.round(v)) < 1e-6;
const SHARE = { share: true, format: (v) => percent(v, isWhole(100 * v) ? 0 : 1), tip: percent };

// ------------------------------------------------------------ pass@k

function passSection() {
  if (!DATA.passk.length) return null;
  const charts = DATA.passk.map(({ task, rows }) => {
    const ks = Object.values(rows).flatMap((row) => row.k);
    const items = Math.max(...Object.values(rows).map((row) => row.items || 0));
    return chart({
      title: task,
      sub: items ? `${count(items, 'problem')}, ${Math.max(...ks)} answers each` : null,
      x: {
        label: 'k, answers a problem',
        kind: 'log',
        domain: extent(ks),
        ticks: roundKs(ks),
        format: String,
      },
      y: { label: 'pass@k, %', ...SHARE },
      series: Object.entries(rows).map(([row, curve]) => ({
        name: row,
        row,
        line: true,
        band: true,
        marks: curve.k.length <= 16,
        size: 3.5,
        points: curve.k.map((k, i) => ({ x: k, y: curve.value[i], low: curve.low[i], high: curve.high[i] })),
      })),
    });
  });
  return section(
    'passk',
    'Pass@k',
    'Pass@k',
    el(
      'p',
      {},
      'The chance that at least one of k answers is right, by the unbiased estimator. Bands: 95 % intervals over problems, those of the table, each k on its own.',
    ),
    legend(rowsIn(DATA.passk)),
    grid(charts),
  );
}

// 1, 2, 4 ... and the last.
function roundKs(ks) {
  const [, last] = extent(ks);
  return [...new Set([...ks.filter((k) => Number.isInteger(Math.log2(k)) && k <= last / 1.5), last])].sort(
    (a, b) => a - b,
  );
}

function rowsIn(parts) {
  const found = new Set(parts.flatMap((part) => Object.keys(part.rows)));
  return DATA.rows.filter((row) => found.has(row));
}

// ------------------------------------------------------------ accuracy by what a problem is like

function breakdownSection() {
  if (!DATA.breakdowns.length) return null;
  const tasks = [...new Set(DATA.breakdowns.map((part) => part.task))];
  const place = el('div', { class: 'grid' });
  const draw = (task) => {
    place.replaceChildren(
      ...DATA.breakdowns
        .filter((part) => part.task === task)
        .map((part) =>
          chart({
            title: `${part.task} by ${part.by}`,
            x: { label: part.unit ? `${part.by}, ${part.unit}` : part.by, kind: 'band', names: part.bins },
            y: { label: 'accuracy, %', zero: true, ...SHARE },
            series: Object.entries(part.rows).map(([row, cells]) => ({
              name: row,
              row,
              marks: true,
              line: /^\d/.test(part.bins[0]),
              thin: true,
              points: cells.flatMap((cell, i) =>
                cell
                  ? [{ x: i, y: cell.value, low: cell.low, high: cell.high, note: count(cell.n, 'problem') }]
                  : [],
              ),
            })),
          }),
        ),
    );
  };
  draw(tasks[0]);
  return section(
    'breakdown',
    'Accuracy by difficulty and length',
    'Difficulty',
    el(
      'p',
      {},
      'The answer under the protocol. Bins of a length hold about as many answers each, all rows together, as far as not many are of the same length. Longer answers are not ' +
        'harder by themselves: what makes a problem hard also makes its answer long.',
    ),
    el(
      'div',
      { class: 'controls' },
      choice(
        'Task',
        tasks.map((task) => [task, task]),
        tasks[0],
        draw,
        'breakdown-task',
      ),
      legend(rowsIn(DATA.breakdowns)),
    ),
    place,
  );
}

// ------------------------------------------------------------ accuracy against compute

const MEASURES = {
  seconds: ['training + evaluation, wall time', duration, duration],
  gpu_hours: ['training + evaluation, GPU hours', short, plain],
  forward_passes: ['forward passes, training + evaluation', short, plain],
  tokens: ['tokens, training + evaluation', short, plain],
};

function costOf(row, measure) {
  const parts = Object.values(DATA.costs[row] || {})
    .map((cost) => cost[measure])
    .filter((v) => v !== undefined);
  return parts.length ? parts.reduce((a, b) => a + b, 0) : null;
}

function costSection() {
  const measures = Object.keys(MEASURES).filter((measure) => DATA.rows.some((row) => costOf(row, measure)));
  const tasks = Object.keys(DATA.summary);
  if (!measures.length || !tasks.length) return null;
  const state = { measure: measures[0], metric: DATA.metrics[0][0] };
  const place = el('div', { class: 'grid' });
  const draw = () =>
    place.replaceChildren(
      ...tasks.filter((task) => DATA.summary[task][state.metric]).map((task) => paretoChart(task, state)),
    );
  draw();
  const set = (name) => (value) => {
    state[name] = value;
    draw();
  };
  return section(
    'cost',
    'Accuracy against compute',
    'Compute',
    el(
      'p',
      {},
      'What a row cost, its own training and its evaluation on all tasks, and what it scores. The stairs join the rows that no other row ' +
        'beats in both. With several seeds: means. Wall times hold for the machine named above.',
    ),
    el(
      'div',
      { class: 'controls' },
      choice(
        'Cost',
        measures.map((m) => [m, MEASURES[m][0]]),
        state.measure,
        set('measure'),
        'cost-measure',
      ),
      choice(
        'Metric',
        DATA.metrics.map(([metric]) => [metric, metric]),
        state.metric,
        set('metric'),
        'cost-metric',
      ),
      legend(DATA.rows.filter((row) => DATA.costs[row])),
    ),
    place,
    costTable(measures),
  );
}

// Wall time in seconds, minutes or hours, whichever gives short numbers.
function unitOf(measure, cells) {
  const [label, format, tipFormat] = MEASURES[measure];
  if (measure !== 'seconds') return [label, 1, format, tipFormat];
  const most = Math.max(...Object.keys(cells).map((row) => costOf(row, measure) || 0));
  const [unit, name] = most >= 7200 ? [3600, 'hours'] : most >= 240 ? [60, 'minutes'] : [1, 'seconds'];
  return [`${label}, ${name}`, unit, short, (v) => duration(v * unit)];
}

function paretoChart(task, { measure, metric }) {
  const cells = DATA.summary[task][metric].rows;
  const [label, unit, format, tipFormat] = unitOf(measure, cells);
  const points = Object.entries(cells)
    .map(([row, cell]) => ({
      row,
      x: costOf(row, measure) / unit,
      y: cell.value,
      low: cell.low,
      high: cell.high,
    }))
    .filter((p) => p.x);
  const sorted = [...points].sort((a, b) => a.x - b.x || b.y - a.y);
  const front = sorted.filter((p, i) => sorted.slice(0, i).every((q) => q.y < p.y));
  const [low, high] = extent(points.map((p) => p.x));
  const log = high > 20 * low;
  const pad = (high - low) * 0.08 || high * 0.1;
  return chart({
    title: task,
    labels: points.length <= 10,
    x: {
      label,
      kind: log ? 'log' : 'linear',
      domain: log ? [low / 1.2, high * 1.2] : [Math.max(0, low - pad), high + pad],
      format,
      tip: tipFormat,
    },
    y: { label: `${metric}, %`, ...SHARE },
    series: [
      { name: 'not beaten in both', points: front, line: true, step: true, silent: true, dash: '3 3' },
      ...points.map((p) => ({ name: p.row, row: p.row, points: [p], marks: true, size: 5.5 })),
    ],
  });
}

function costTable(measures) {
  const columns = ['train', 'eval']
    .flatMap((kind) => [...measures, 'peak_memory_bytes'].map((measure) => [kind, measure]))
    .filter(([kind, measure]) =>
      DATA.rows.some((row) => ((DATA.costs[row] || {})[kind] || {})[measure] !== undefined),
    );
  const names = {
    seconds: 'time',
    gpu_hours: 'GPU hours',
    forward_passes: 'forward passes',
    tokens: 'tokens',
    peak_memory_bytes: 'peak memory',
  };
  const kinds = { train: 'training', eval: 'evaluation' };
  const rows = DATA.rows
    .filter((row) => DATA.costs[row])
    .map((row) => [
      row,
      ...columns.map(([kind, measure]) => {
        const value = (DATA.costs[row][kind] || {})[measure];
        if (value === undefined) return '';
        return measure === 'peak_memory_bytes'
          ? `${(value / 2 ** 30).toFixed(1)} GiB`
          : MEASURES[measure][2](value);
      }),
    ]);
  return el(
    'details',
    { class: 'numbers' },
    el('summary', {}, 'Costs of each row'),
    table(['row', ...columns.map(([kind, measure]) => `${kinds[kind]}, ${names[measure]}`)], rows, {
      class: 'figures',
    }),
  );
}

// Rows against each other: differences from a baseline, and of a sweep accuracy against speed.

function signedPoints(share) {
  const text = `${share < 0 ? '\u2212' : '+'}${percent(Math.abs(share))}`;
  return /[1-9]/.test(text) ? text : '0.0';
}

function pValue(p) {
  return p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(3)}`;
}

// ------------------------------------------------------------ differences

function differencesTable(metric) {
  const tasks = Object.keys(DATA.differences).filter((task) => DATA.differences[task][metric]);
  if (!tasks.length) return null;
  const cells = tasks.map((task) => DATA.differences[task][metric]);
  const rows = DATA.rows.filter((row) => cells.some((of) => of[row]));
  const baselines = [...new Set(cells.flatMap((of) => Object.values(of).map((one) => one.baseline)))];
  const most = Math.max(
    0.01,
    ...cells.flatMap((of) => Object.values(of).flatMap((one) => [-one.low, one.high])),
  );
  const against = (row) => (baselines.length > 1 ? cells.find((of) => of[row])[row].baseline : null);
  return el(
    'table',
    { class: 'results', id: 'differences-table' },
    el(
      'caption',
      {},
      `${metric}, difference from ${baselines.length > 1 ? 'its baseline' : baselines[0]} in percentage ` +
        'points, with 95 % intervals',
    ),
    el(
      'thead',
      {},
      el(
        'tr',
        {},
        el('th', { scope: 'col' }, DATA.sweep ? 'setting' : 'method'),
        tasks.map((task) => el('th', { scope: 'col' }, breakable(task))),
      ),
    ),
    el(
      'tbody',
      {},
      rows.map((row) =>
        el(
          'tr',
          {},
          el(
            'th',
            { scope: 'row' },
            breakable(row),
            against(row) ? el('span', { class: 'range' }, `from ${against(row)}`) : null,
          ),
          cells.map((of) => differenceCell(of[row], most)),
        ),
      ),
    ),
  );
}

function differenceCell(one, most) {
  if (!one) return el('td', {}, el('span', { class: 'muted' }, 'not compared'));
  return el(
    'td',
    {},
    el('span', { class: 'value' }, signedPoints(one.value)),
    el('span', { class: one.p < 0.05 ? 'tag sure' : 'range inline' }, pValue(one.p)),
    whisker(one, -most, most, true),
    el('span', { class: 'range' }, `${signedPoints(one.low)} to ${signedPoints(one.high)}`),
    one.gained === null
      ? null
      : el('span', { class: 'range' }, `${one.gained} gained, ${one.lost} lost of ${one.items}`),
  );
}

function differencesNote() {
  return el(
    'p',
    { class: 'note' },
    'Differences are paired: on the problems that both answered. p: exact McNemar where each has one answer ' +
      'that is right or wrong, else paired bootstrap; with Holm\u2019s adjustment over the rows of a task.',
  );
}

// ------------------------------------------------------------ accuracy against speed

const SPEEDS = {
  tokens_per_pass: 'tokens a forward pass (TPF)',
  tokens_per_second: 'tokens a second',
};

function speedSection() {
  const tasks = Object.keys(DATA.speeds);
  if (!tasks.length) return null;
  const rows = DATA.rows.filter((row) => tasks.some((task) => DATA.speeds[task].rows[row]));
  return section(
    'speed',
    'Accuracy against speed',
    'Speed',
    el(
      'p',
      {},
      'Each point is a decoding setting, on the same problems; whiskers are 95 % intervals. The stairs join ' +
        'the settings that no other beats in both. The baseline has a ring. Tokens count up to the end of ' +
        'text; a second is one of the machine named above.',
    ),
    legend(rows),
    tasks.map((task) => [
      el(
        'div',
        { class: 'grid two' },
        Object.keys(SPEEDS).map((speed) => speedChart(task, speed)),
      ),
      speedTable(task),
    ]),
  );
}

function speedChart(task, speed) {
  const { metric, rows } = DATA.speeds[task];
  const points = Object.entries(rows)
    .filter(([row, known]) => known[speed] !== null && DATA.summary[task][metric].rows[row])
    .map(([row, known]) => {
      const cell = DATA.summary[task][metric].rows[row];
      return { row, x: known[speed], y: cell.value, low: cell.low, high: cell.high, note: about(task, row) };
    });
  if (!points.length) return null;
  const front = points.filter((p) => rows[p.row].front.includes(speed)).sort((a, b) => a.x - b.x || b.y - a.y);
  const [low, high] = extent(points.map((p) => p.x));
  const log = high > 8 * low;
  const pad = (high - low) * 0.08 || high * 0.1;
  return chart({
    title: task,
    sub: `${metric} by ${SPEEDS[speed]}`,
    labels: points.length <= 10,
    tall: true,
    x: {
      label: SPEEDS[speed],
      kind: log ? 'log' : 'linear',
      domain: log ? [low / 1.2, high * 1.2] : [Math.max(0, low - pad), high + pad],
    },
    y: { label: `${metric}, %`, ...SHARE },
    series: [
      { name: 'not beaten in both', points: front, line: true, step: 'down', silent: true, dash: '3 3' },
      ...points.map((p) => ({
        name: isBaseline(p.row) ? `${p.row} (baseline)` : p.row,
        row: p.row,
        points: [p],
        marks: true,
        ring: isBaseline(p.row),
        size: 5.5,
      })),
    ],
  });
}

// What a pointer over a setting says beside its numbers.
function about(task, row) {
  const { metric, rows } = DATA.speeds[task];
  const one = ((DATA.differences[task] || {})[metric] || {})[row];
  const { same, of, decoding } = rows[row];
  return [
    one ? `${signedPoints(one.value)} points from ${one.baseline}, ${pValue(one.p)}` : null,
    same === null ? null : `the same answer to ${same} of ${of} problems`,
    decoding,
  ]
    .filter(Boolean)
    .join('; ');
}

function speedTable(task) {
  const { metric, rows } = DATA.speeds[task];
  const number = (value) =>
    value === null ? '' : plain(value >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
  const lines = DATA.rows
    .filter((row) => rows[row])
    .map((row) => {
      const known = rows[row];
      const cell = DATA.summary[task][metric].rows[row];
      const one = ((DATA.differences[task] || {})[metric] || {})[row];
      return [
        row,
        cell ? percent(cell.value) : '',
        one ? signedPoints(one.value) : '',
        one ? pValue(one.p).replace(/p (= )?/, '') : '',
        known.same === null ? '' : `${known.same} / ${known.of}`,
        number(known.tokens_per_pass),
        number(known.tokens_per_second),
        plain(Math.round(known.passes)),
        known.peak_memory_bytes === null ? '' : `${(known.peak_memory_bytes / 2 ** 30).toFixed(1)} GiB`,
        known.decoding || '',
        known.front.map((speed) => (speed === 'tokens_per_pass' ? 'pass' : 's')).join(', '),
      ];
    });
  const head = ['setting', `${metric}, %`, 'difference', 'p', 'same answers', 'tokens a pass'];
  head.push('tokens a second', 'passes', 'peak memory', 'decoding', 'Pareto');
  const there = head.map((_, i) => lines.some((line) => line[i]));
  return el(
    'details',
    { class: 'numbers', open: true },
    el('summary', {}, `Settings on ${task}`),
    table(
      head.filter((_, i) => there[i]),
      lines.map((line) => line.filter((_, i) => there[i])),
      { class: 'figures' },
    ),
  );
}

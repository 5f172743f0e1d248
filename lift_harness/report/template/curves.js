// The sections on training and on token frequency.

// ------------------------------------------------------------ training

const CURVES = [
  ['loss', 'Training loss', 'loss', 'Thin: as logged. Thick: running mean over a twentieth of the curve.'],
  ['eval_nelbo', 'Validation', 'NELBO, nats per token', null],
  ['learning_rate', 'Learning rate', 'learning rate', null],
  ['grad_norm', 'Gradient norm', 'norm before clipping', null],
];

function trainingSection() {
  if (!DATA.training.length) return null;
  const x = { label: 'optimiser step', whole: true };
  const charts = CURVES.flatMap(([key, title, label, sub]) => {
    const series = DATA.training
      .filter((arm) => arm[key])
      .map((arm) => {
        const { x: xs, y: ys, smooth } = arm[key];
        const points = (values) => xs.map((v, i) => ({ x: v, y: values[i] }));
        return {
          name: arm.arm,
          row: arm.row,
          line: true,
          marks: xs.length <= 12,
          size: 3,
          points: points(smooth || ys),
          raw: smooth ? points(ys) : null,
        };
      });
    if (!series.length) return [];
    return [
      chart({
        title,
        sub: series.some((one) => one.raw) ? sub : null,
        x,
        y: { label, zero: key === 'learning_rate' },
        series,
      }),
    ];
  });
  const regimes = DATA.training
    .filter((arm) => arm.regimes)
    .map(({ arm, regimes: found }) =>
      stacked({
        title: `Regimes of ${arm}`,
        sub: 'Rows by what LIFT kept: the hardest tokens, a random choice, the easiest.',
        x,
        xs: found.x,
        parts: [
          ['hardest', 'var(--shade2)'],
          ['random', 'var(--shade1)'],
          ['easiest', 'var(--shade0)'],
        ].map(([name, shade]) => ({ name, shade, values: found[name] })),
      }),
    );
  const confidence = DATA.training
    .filter((arm) => arm.confidence)
    .map(({ arm, row, confidence: found }) =>
      chart({
        title: `Confidence of ${arm}`,
        sub: 'p(x0) of masked tokens that the loss kept (solid) and dropped (dashed).',
        x: { label: 'diffusion time t', domain: [0, 1] },
        y: { label: 'mean confidence', domain: [0, 1] },
        series: [
          ['kept', ''],
          ['dropped', '5 4'],
        ].map(([name, dash]) => ({
          name,
          row,
          dash,
          line: true,
          marks: true,
          size: name === 'kept' ? 4.5 : 3,
          points: found.t.flatMap((t, i) =>
            found[name][i] === null || found[name][i] === undefined ? [] : [{ x: t, y: found[name][i] }],
          ),
        })),
      }),
    );
  return section(
    'training',
    'Training',
    'Training',
    legend(DATA.rows.filter((row) => DATA.training.some((arm) => arm.row === row))),
    grid([...charts, ...regimes, ...confidence]),
  );
}

// ------------------------------------------------------------ token frequency

function frequencySection() {
  if (!DATA.frequency.length) return null;
  return section(
    'frequency',
    'Confidence and token frequency',
    'Frequency',
    el(
      'p',
      {},
      'How sure the model is of a masked token, by how often that token occurs in the data. Bars: 1.96 standard errors of the mean.',
    ),
    DATA.frequency.map((part) => {
      const series = part.series.map(({ t, bins }, i) => ({
        name: t === 'all' ? 'all t' : `t = ${Number(t.toPrecision(3))}`,
        colour:
          t === 'all'
            ? 'var(--ink)'
            : `var(--t${part.series.length < 3 ? 1 : Math.round((4 * (i - 1)) / (part.series.length - 2))})`,
        line: true,
        marks: true,
        size: 3.5,
        points: bins.map((bin) => ({
          x: Math.sqrt(bin.frequency_low * bin.frequency_high),
          y: bin.confidence_mean,
          low:
            bin.confidence_stderr === null
              ? undefined
              : Math.max(0, bin.confidence_mean - 1.96 * bin.confidence_stderr),
          high:
            bin.confidence_stderr === null
              ? undefined
              : Math.min(1, bin.confidence_mean + 1.96 * bin.confidence_stderr),
          note: `${plain(bin.frequency_low)} to ${plain(bin.frequency_high)} occurrences, ${plain(bin.count)} masked`,
        })),
      }));
      const x = { label: 'occurrences of the token', kind: 'log', tip: (v) => plain(Math.round(v)) };
      const y = { label: 'mean confidence', domain: [0, 1], tip: (v) => v.toFixed(3) };
      const whole = series.filter((one) => one.name === 'all t');
      const timed = series.filter((one) => one.name !== 'all t');
      const what = [part.name, [part.model, part.data].filter(Boolean).join(' on ')]
        .filter(Boolean)
        .join(': ');
      const [first, ...more] = part.sentences;
      return [
        el('p', {}, el('strong', {}, what), first ? `. ${first}` : ''),
        more.length
          ? el(
              'details',
              {},
              el('summary', {}, 'What lift-harness analyze says'),
              el(
                'ul',
                {},
                more.map((line) => el('li', {}, line)),
              ),
            )
          : null,
        grid([
          whole.length ? chart({ title: 'All diffusion times together', x, y, series: whole }) : null,
          timed.length
            ? chart({ title: 'By diffusion time', x, y, series: timed, key: timeKey(timed) })
            : null,
        ]),
      ];
    }),
  );
}

function timeKey(series) {
  return el(
    'div',
    { class: 'legend still' },
    series.map((one) =>
      el(
        'span',
        { class: 'key' },
        svg(
          'svg',
          { width: 22, height: 14, 'aria-hidden': 'true' },
          svg('line', { x1: 1, x2: 21, y1: 7, y2: 7, stroke: one.colour, 'stroke-width': 3 }),
        ),
        one.name,
      ),
    ),
  );
}

// The head of the page and the table of results.

function pageHeader() {
  const { name, description, facts, details, commands, recipe } = DATA.header;
  const fact = ([key, value]) => [el('dt', {}, key), el('dd', {}, visible(value))];
  return el(
    'header',
    {},
    el('div', { class: 'top' }, el('p', { class: 'kind' }, 'lift-harness report'), themeButton()),
    el('h1', {}, visible(name)),
    description ? el('p', { class: 'lead' }, visible(description)) : null,
    el('dl', { class: 'facts' }, facts.map(fact)),
    el(
      'details',
      {},
      el('summary', {}, 'How to reproduce'),
      el('p', {}, 'In this run\u2019s folder:'),
      commands.map(([what, line]) =>
        el('div', { class: 'command' }, el('span', {}, what), el('code', {}, line), copyButton(line)),
      ),
      recipe
        ? el('details', {}, el('summary', {}, 'recipe.yaml'), el('pre', { class: 'text' }, visible(recipe)))
        : null,
    ),
    details.length
      ? el(
          'details',
          {},
          el('summary', {}, 'Weights, data, packages'),
          el('dl', { class: 'facts' }, details.map(fact)),
        )
      : null,
  );
}

function themeButton() {
  const order = ['auto', 'light', 'dark'];
  const button = el('button', {
    type: 'button',
    id: 'theme',
    onclick: () => {
      window.reportTheme.set(order[(order.indexOf(window.reportTheme.get()) + 1) % 3]);
      say();
    },
  });
  const say = () => {
    button.textContent = `Theme: ${window.reportTheme.get()}`;
  };
  say();
  return button;
}

function copyButton(line, name = 'Copy') {
  const button = el(
    'button',
    {
      type: 'button',
      'aria-label': `${name}: ${line}`,
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(line);
          button.textContent = 'Copied';
        } catch (error) {
          button.textContent = 'Select it instead';
        }
        setTimeout(() => {
          button.textContent = name;
        }, 1500);
      },
    },
    name,
  );
  return button;
}

// ------------------------------------------------------------ results

function resultsSection() {
  if (!DATA.metrics.length)
    return section('results', 'Results', 'Results', el('p', {}, 'No row has been evaluated.'));
  const state = { metric: DATA.metrics[0][0], sort: null, down: true };
  const place = el('div', {
    class: 'scroll',
    tabindex: '0',
    role: 'group',
    'aria-label': 'Table of results',
  });
  const beside = el('div', {
    class: 'scroll',
    tabindex: '0',
    role: 'group',
    'aria-label': 'Table of differences',
  });
  const note = el('p', { class: 'note', id: 'best-note' });
  const draw = () => {
    place.replaceChildren(
      resultsTable(state, (column) => {
        state.down = state.sort === column ? !state.down : column !== '';
        state.sort = column;
        draw();
        place.querySelector(`button[data-column="${CSS.escape(column)}"]`).focus();
      }),
    );
    note.textContent = bestNote(state.metric);
    const differences = differencesTable(state.metric);
    beside.hidden = !differences;
    beside.replaceChildren(...(differences ? [differences] : []));
  };
  draw();
  return section(
    'results',
    'Results',
    'Results',
    el(
      'div',
      { class: 'controls' },
      choice(
        'Metric',
        DATA.metrics,
        state.metric,
        (value) => {
          state.metric = value;
          state.sort = null;
          draw();
        },
        'metric',
      ),
    ),
    el('div', { class: 'beside' }, place, beside),
    note,
    Object.keys(DATA.differences).length ? differencesNote() : null,
    intervalNote(),
  );
}

function resultsTable(state, sortBy) {
  const tasks = Object.keys(DATA.summary).filter((task) => DATA.summary[task][state.metric]);
  const cell = (row, task) => DATA.summary[task][state.metric].rows[row];
  const scored = DATA.rows.filter((row) => tasks.some((task) => cell(row, task)));
  const value = (row) => (state.sort === '' ? row : (cell(row, state.sort) || { value: -Infinity }).value);
  const lines = Object.fromEntries(
    tasks.map((task) => [task, lineOf(Object.values(DATA.summary[task][state.metric].rows))]),
  );
  const rows = [...scored];
  if (state.sort !== null) {
    rows.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (state.down ? -1 : 1));
  }
  const head = (column, text) =>
    el(
      'th',
      { scope: 'col', 'aria-sort': state.sort !== column ? 'none' : state.down ? 'descending' : 'ascending' },
      el(
        'button',
        { type: 'button', 'data-column': column, onclick: () => sortBy(column) },
        breakable(text),
        el(
          'span',
          { class: 'arrow', 'aria-hidden': 'true' },
          state.sort !== column ? '\u2195' : state.down ? '\u2193' : '\u2191',
        ),
      ),
      lines[column]
        ? el(
            'span',
            { class: 'range' },
            `line: ${percent(lines[column][0], 0)} to ${percent(lines[column][1], 0)} %`,
          )
        : null,
    );
  return el(
    'table',
    { class: 'results', id: 'results-table' },
    el('caption', {}, `${state.metric}, percent, with 95 % intervals`),
    el(
      'thead',
      {},
      el(
        'tr',
        {},
        head('', DATA.sweep ? 'setting' : 'method'),
        tasks.map((task) => head(task, task)),
      ),
    ),
    el(
      'tbody',
      {},
      rows.map((row) =>
        el(
          'tr',
          {},
          el('th', { scope: 'row' }, breakable(row)),
          tasks.map((task) =>
            resultCell(cell(row, task), DATA.summary[task][state.metric].best === row, lines[task]),
          ),
        ),
      ),
    ),
  );
}

// A name that may be broken after an underscore, a comma or an equals sign.
function breakable(text) {
  return text.split(/(?<=[_,=])/).flatMap((part, i) => (i ? [el('wbr'), part] : [part]));
}

function resultCell(cell, best, [from, to]) {
  if (!cell) return el('td', {}, el('span', { class: 'muted' }, 'not evaluated'));
  const certain = cell.low !== null;
  return el(
    'td',
    { class: best ? 'best' : null },
    el('span', { class: 'value' }, percent(cell.value)),
    best ? el('span', { class: 'tag' }, 'best') : null,
    certain && to > from ? whisker(cell, from, to) : null,
    certain ? el('span', { class: 'range' }, `${percent(cell.low)} to ${percent(cell.high)}`) : null,
    cell.seeds_low === null
      ? null
      : el('span', { class: 'range' }, `seeds ${percent(cell.seeds_low)} to ${percent(cell.seeds_high)}`),
  );
}

// What the lines of a column run from and to: its intervals, in steps of 5 %.
function lineOf(cells) {
  const [low, high] = extent(
    cells.flatMap((cell) => [
      cell.low === null ? cell.value : cell.low,
      cell.high === null ? cell.value : cell.high,
    ]),
  );
  return [Math.floor(low * 20) / 20, Math.ceil(high * 20) / 20];
}

// The interval as a line on the column's; `zero`: with a mark where there is no difference.
function whisker(cell, from, to, zero) {
  const at = (share) => (1 + (98 * (share - from)) / (to - from)).toFixed(1);
  return svg(
    'svg',
    { class: 'whisker-line', viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('line', { x1: 1, x2: 99, y1: 4, y2: 4, class: 'track' }),
    zero ? svg('line', { x1: at(0), x2: at(0), y1: 0, y2: 8, class: 'track' }) : null,
    svg('line', { x1: at(cell.low), x2: at(cell.high), y1: 4, y2: 4, class: 'span' }),
    svg('line', { x1: at(cell.value), x2: at(cell.value), y1: 0, y2: 8, class: 'middle' }),
  );
}

function bestNote(metric) {
  const tasks = Object.keys(DATA.summary).filter((task) => DATA.summary[task][metric]);
  const without = tasks.filter((task) => DATA.summary[task][metric].best === null);
  const rule =
    'A row is marked best on a task only if its 95 % intervals lie above those of every other row.';
  if (!without.length) return rule;
  const where =
    without.length === tasks.length
      ? 'Here no row is, on any task'
      : `Here no row is on ${without.join(', ')}`;
  return `${rule} ${where}: the highest may be so by chance. All rows answer the same problems, so the paired differences are surer.`;
}

function intervalNote() {
  const cells = Object.values(DATA.summary)
    .flatMap((metrics) => Object.values(metrics))
    .flatMap(({ rows }) => Object.values(rows));
  const seeds = Math.max(1, ...cells.map((cell) => cell.seeds));
  return el(
    'details',
    {},
    el('summary', {}, 'How the intervals are made'),
    el(
      'ul',
      {},
      el('li', {}, 'All are over problems, and the same as those of lift-harness compare.'),
      el('li', {}, 'One answer a problem, right or wrong, one seed: Wilson\u2019s interval.'),
      el(
        'li',
        {},
        'pass@k, averages over answers, cells of Sudokus, several seeds: BCa bootstrap over problems, 10,000 resamples. Where all problems scored alike: the value and Wilson\u2019s upper limit for 0 of n to each side.',
      ),
      seeds > 1
        ? el(
            'li',
            {},
            `\u201cseeds\u201d: Student\u2019s t over the ${seeds} training seeds, for what training again would give.`,
          )
        : null,
      el('li', {}, 'All are pointwise: with many rows and tasks some are off by chance.'),
    ),
  );
}

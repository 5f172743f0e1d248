// The sample browser: filters, search, pages; the chosen problem is answers.js's.

const PAGE = 20;
const ITEMS = DATA.browser.items;
const LABEL_NAMES = ['one answer', 'n answers'];

const view = {
  task: '',
  arm: '',
  verdict: '',
  label: '',
  search: '',
  replay: false,
  page: 0,
  chosen: -1,
  found: [],
};

// What an arm answered: {label, correct, acc, texts}, of one evaluation or, with label '', of the first there is.
function answersOf(item, arm, label) {
  let found = null;
  for (const [a, l, correct, acc, texts] of item.answers) {
    if (a === arm && (label === '' ? !found || l < found.label : l === Number(label)))
      found = { label: l, correct, acc, texts };
  }
  return found;
}

// 1 if one of the answers is right, 0 if none is, null where nothing was judged.
function verdictOf(item, arm, label) {
  const found = answersOf(item, arm, label);
  const known = found ? found.correct.filter((v) => v !== null) : [];
  return known.length ? Math.max(...known) : null;
}

const haystacks = new Array(ITEMS.length);

function haystack(i) {
  if (haystacks[i] === undefined) {
    const item = ITEMS[i];
    haystacks[i] = [item.id, item.question, item.target, ...item.answers.flatMap((answer) => answer[4] || [])]
      .join('\n')
      .toLowerCase();
  }
  return haystacks[i];
}

const replayable = new Set(DATA.browser.traces.map((trace) => trace.item));

function isFound(i) {
  const item = ITEMS[i];
  if (view.task && item.task !== view.task) return false;
  if (view.replay && !replayable.has(i)) return false;
  if (view.arm !== '' || view.verdict || view.label !== '') {
    const verdicts = DATA.arms.map((_, arm) => verdictOf(item, arm, view.label));
    const known = verdicts.filter((v) => v !== null);
    if (!known.length) return false;
    const mine = view.arm === '' ? known : [verdicts[view.arm]];
    if (mine[0] === null) return false;
    if (view.verdict === 'right' && !mine.every((v) => v === 1)) return false;
    if (view.verdict === 'wrong' && !mine.every((v) => v === 0)) return false;
    if (view.verdict === 'differs' && Math.max(...known) === Math.min(...known)) return false;
  }
  return !view.search || haystack(i).includes(view.search);
}

function browserSection() {
  if (!ITEMS.length) return null;
  const list = el('ol', { class: 'items', id: 'items', 'aria-label': 'Problems' });
  const said = el('p', { class: 'count', id: 'found', role: 'status' });
  const pages = el('div', { class: 'pages' });
  const detail = el('div', { class: 'detail', id: 'detail' });
  const parts = { list, said, pages, detail };
  const change = (name) => (value) => {
    view[name] = value;
    view.page = 0;
    search(parts);
  };
  search(parts);
  window.addEventListener('hashchange', () => follow(parts));
  window.addEventListener('load', () => follow(parts));
  list.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(parts, step);
    list.querySelector('[aria-current="true"]').focus();
  });
  return section(
    'samples',
    'Problems and answers',
    'Answers',
    leftOut(),
    filters(change),
    said,
    el('div', { class: 'browser' }, el('div', { class: 'side' }, list, pages), detail),
  );
}

// ------------------------------------------------------------ links: #problem/TASK/ID, with /replay to its replay

function linkTo(item) {
  return `#problem/${encodeURIComponent(item.task)}/${encodeURIComponent(item.id)}`;
}

// Show the problem that the address names, whatever the filters say.
function follow(parts) {
  const [kind, task, id, replay] = window.location.hash.slice(1).split('/').map(decoded);
  const i = kind === 'problem' ? ITEMS.findIndex((item) => item.task === task && item.id === id) : -1;
  if (i < 0) return;
  if (!isFound(i)) {
    Object.assign(view, { task: '', arm: '', verdict: '', label: '', search: '', replay: false });
    for (const input of document.querySelectorAll('.filters select, .filters input')) {
      input.value = '';
      input.checked = false;
    }
  }
  view.chosen = i;
  search(parts);
  view.page = Math.floor(view.found.indexOf(i) / PAGE);
  showList(parts);
  const chosen = parts.list.querySelector('[aria-current="true"]');
  parts.list.scrollTop = chosen.offsetTop - parts.list.offsetTop;
  const player = replay && document.getElementById('replay');
  (player || parts.detail).scrollIntoView();
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    return part;
  }
}

function leftOut() {
  const lines = DATA.browser.left_out;
  return lines.length
    ? el(
        'div',
        { class: 'note', id: 'left-out' },
        el('strong', {}, 'Left out to keep this file small. '),
        lines.join(' '),
      )
    : null;
}

function filters(change) {
  const both =
    ITEMS.some((item) => item.answers.some((a) => a[1] === 0)) &&
    ITEMS.some((item) => item.answers.some((a) => a[1] === 1));
  const input = el('input', {
    type: 'search',
    id: 'search',
    autocomplete: 'off',
    spellcheck: 'false',
    oninput: () => change('search')(input.value.trim().toLowerCase()),
  });
  const replay = el('input', {
    type: 'checkbox',
    id: 'only-replay',
    onchange: () => change('replay')(replay.checked),
  });
  return el(
    'div',
    { class: 'controls filters', role: 'search' },
    choice(
      'Task',
      [['', 'all'], ...DATA.tasks.map((task) => [task, task])],
      '',
      change('task'),
      'filter-task',
    ),
    choice(
      'Method',
      [['', 'every method'], ...DATA.arms.map((arm, i) => [i, arm.name])],
      '',
      change('arm'),
      'filter-method',
    ),
    choice(
      'Verdict',
      [
        ['', 'any'],
        ['right', 'right'],
        ['wrong', 'wrong'],
        ['differs', 'differs between methods'],
      ],
      '',
      change('verdict'),
      'filter-verdict',
    ),
    both
      ? choice(
          'Judged by',
          [
            ['', 'either'],
            ['0', 'one answer (protocol)'],
            ['1', 'any of n answers'],
          ],
          '',
          change('label'),
          'filter-label',
        )
      : null,
    replayable.size ? el('label', { class: 'choice check' }, replay, el('span', {}, 'with a replay')) : null,
    el('label', { class: 'choice grow' }, el('span', {}, 'Search texts'), input),
  );
}

// Find again, show the first page, and keep the chosen problem if it is still among the found.
function search(parts) {
  view.found = [];
  for (let i = 0; i < ITEMS.length; i += 1) if (isFound(i)) view.found.push(i);
  parts.said.textContent = view.found.length
    ? `${count(view.found.length, 'problem')} of ${ITEMS.length.toLocaleString('en-US')}`
    : 'No problem is like that.';
  if (!view.found.includes(view.chosen)) view.chosen = view.found.length ? view.found[0] : -1;
  showList(parts);
  showDetail(parts);
}

function showList(parts) {
  const start = view.page * PAGE;
  parts.list.setAttribute('start', start + 1);
  parts.list.replaceChildren(
    ...view.found.slice(start, start + PAGE).map((i) => {
      const item = ITEMS[i];
      return el(
        'li',
        {},
        el(
          'button',
          {
            type: 'button',
            'data-item': i,
            'aria-current': String(i === view.chosen),
            onclick: () => choose(parts, i, true),
          },
          el(
            'span',
            { class: 'name' },
            `${item.task} #${item.id}`,
            replayable.has(i) ? el('span', { class: 'muted' }, ' replay') : null,
          ),
          el('span', { class: 'snippet' }, snippet(item)),
          chips(item),
        ),
      );
    }),
  );
  const last = Math.max(0, Math.ceil(view.found.length / PAGE) - 1);
  const turn = (to, text) =>
    el(
      'button',
      {
        type: 'button',
        disabled: to < 0 || to > last,
        onclick: () => {
          view.page = to;
          showList(parts);
        },
      },
      text,
    );
  parts.pages.replaceChildren(
    ...(last
      ? [
          turn(view.page - 1, 'Previous page'),
          el(
            'span',
            {},
            `${start + 1}\u2013${Math.min(start + PAGE, view.found.length)} of ${view.found.length.toLocaleString('en-US')}`,
          ),
          turn(view.page + 1, 'Next page'),
        ]
      : []),
  );
}

function snippet(item) {
  return visible(item.question.slice(0, 300).replace(/\s+/g, ' ').trim().slice(0, 110)) || 'text left out';
}

// Who is right: by name where they are few.
function chips(item) {
  const verdicts = DATA.arms
    .map((arm, i) => [arm.name, verdictOf(item, i, view.label)])
    .filter(([, verdict]) => verdict !== null);
  if (verdicts.length > 6) {
    return el(
      'span',
      { class: 'chips' },
      `${verdicts.filter(([, verdict]) => verdict).length} of ${verdicts.length} methods right`,
    );
  }
  return el(
    'span',
    { class: 'chips' },
    verdicts.map(([name, verdict]) =>
      el(
        'span',
        { class: verdict ? 'chip right' : 'chip wrong' },
        `${verdict ? '\u2713' : '\u2717'} ${name}`,
        el('span', { class: 'unseen' }, verdict ? ' right' : ' wrong'),
      ),
    ),
  );
}

function choose(parts, i, far) {
  view.chosen = i;
  for (const button of parts.list.querySelectorAll('button'))
    button.setAttribute('aria-current', String(Number(button.dataset.item) === i));
  showDetail(parts);
  if (far && window.matchMedia('(max-width: 899px)').matches) parts.detail.scrollIntoView();
}

// The next or previous of the found problems, on whatever page it is.
function go(parts, step) {
  const at = view.found.indexOf(view.chosen) + step;
  if (at < 0 || at >= view.found.length) return;
  view.chosen = view.found[at];
  const page = Math.floor(at / PAGE);
  if (page !== view.page) {
    view.page = page;
    showList(parts);
  }
  choose(parts, view.chosen, false);
}

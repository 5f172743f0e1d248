// One problem: the question, what was wanted, and two methods' answers side by side.

const sides = { left: null, right: null, differences: false };

function showDetail(parts) {
  stopReplay();
  const item = ITEMS[view.chosen];
  if (!item) {
    parts.detail.replaceChildren();
    return;
  }
  const at = view.found.indexOf(view.chosen);
  const move = (step, text, name) =>
    el(
      'button',
      {
        type: 'button',
        class: name,
        disabled: at + step < 0 || at + step >= view.found.length,
        onclick: () => {
          go(parts, step);
          const again = parts.detail.querySelector(`.${name}`);
          if (!again.disabled) again.focus();
        },
      },
      text,
    );
  put(
    parts.detail,
    el(
      'div',
      { class: 'bar' },
      el('h3', {}, `${item.task} #${item.id}`),
      replayable.has(view.chosen) ? el('a', { href: `${linkTo(item)}/replay` }, 'Replay') : null,
      copyButton(`${window.location.href.split('#')[0]}${linkTo(item)}`, 'Copy link'),
      move(-1, '\u2190 Previous', 'previous'),
      move(1, 'Next \u2192', 'next'),
    ),
    factsOf(item),
    question(item),
    compared(item),
    replaySection(view.chosen),
  );
}

function factsOf(item) {
  const facts = Object.entries(item.facts);
  return facts.length
    ? el(
        'p',
        { class: 'muted' },
        facts.map(([name, value]) => `${name}: ${visible(String(value))}`).join(' \u00b7 '),
      )
    : null;
}

function question(item) {
  const [before, after] = DATA.browser.frames[item.task] || ['', ''];
  if (!item.question && !item.target)
    return el('p', { class: 'note' }, 'The texts of this problem are left out; its verdicts are here.');
  return [
    el('h4', {}, 'Question'),
    textBlock(item.question),
    before || after
      ? el(
          'details',
          {},
          el('summary', {}, 'The whole prompt'),
          el('pre', { class: 'text' }, marked(before), el('b', {}, marked(item.question)), marked(after)),
        )
      : null,
    el('h4', {}, 'Target'),
    textBlock(item.target),
  ];
}

function compared(item) {
  const arms = DATA.arms.map((arm, i) => [i, arm.name]).filter(([i]) => item.answers.some((a) => a[0] === i));
  if (!arms.length) return null;
  const known = (i) => arms.some(([arm]) => arm === i);
  const left = known(sides.left) ? sides.left : arms[0][0];
  const right = known(sides.right) ? sides.right : arms[arms.length - 1][0];
  const place = el('div', { class: 'pair' });
  const draw = () =>
    put(
      place,
      [...new Set([Number(leftInput()), Number(rightInput())])].map((arm, i, both) =>
        side(item, arm, both[1 - i]),
      ),
    );
  const pick = (name) => (value) => {
    sides[name] = Number(value);
    draw();
  };
  const leftChoice = choice('Left', arms, left, pick('left'), 'side-left');
  const rightChoice = arms.length > 1 ? choice('Right', arms, right, pick('right'), 'side-right') : null;
  const leftInput = () => leftChoice.querySelector('select').value;
  const rightInput = () => (rightChoice || leftChoice).querySelector('select').value;
  const box = el('input', {
    type: 'checkbox',
    id: 'differences',
    onchange: () => {
      sides.differences = box.checked;
      draw();
    },
  });
  box.checked = sides.differences;
  draw();
  return [
    el('h4', {}, 'Answers'),
    el(
      'div',
      { class: 'controls' },
      leftChoice,
      rightChoice,
      rightChoice ? el('label', { class: 'choice check' }, box, el('span', {}, 'mark differences')) : null,
    ),
    place,
  ];
}

// The answers of one arm, and against which other's differences are marked.
function side(item, arm, other) {
  const found = [0, 1].map((label) => answersOf(item, arm, label)).filter(Boolean);
  const against =
    sides.differences && other !== undefined ? answersOf(item, other, 0) || answersOf(item, other, '') : null;
  return el(
    'div',
    { class: 'side-of', 'data-arm': DATA.arms[arm].name },
    el('h5', {}, DATA.arms[arm].name),
    found.map((answers) =>
      answers.correct.length === 1 && answers.label === 0
        ? oneAnswer(answers, against)
        : manyAnswers(answers, found.length === 1),
    ),
  );
}

function oneAnswer(answers, against) {
  return [
    el('p', { class: 'verdicts' }, LABEL_NAMES[0], verdictChip(answers, 0)),
    answers.texts
      ? answerBlock(answers.texts[0], against && against.texts ? against.texts[0] : null)
      : el('p', { class: 'muted' }, 'text left out'),
  ];
}

function manyAnswers(answers, open) {
  const right = answers.correct.filter((v) => v === 1).length;
  return el(
    'details',
    { class: 'many', open },
    el('summary', {}, `${count(answers.correct.length, 'answer')}, ${right} right`),
    answers.correct.map((_, i) => [
      el('p', { class: 'verdicts' }, `${i + 1}`, verdictChip(answers, i)),
      answers.texts ? answerBlock(answers.texts[i], null) : el('p', { class: 'muted' }, 'text left out'),
    ]),
  );
}

function verdictChip(answers, i) {
  const verdict = answers.correct[i];
  const share = answers.acc && answers.acc[i] ? ` (${answers.acc[i]})` : '';
  if (verdict === null) return el('span', { class: 'chip' }, `not judged${share}`);
  return el(
    'span',
    { class: verdict ? 'chip right' : 'chip wrong' },
    `${verdict ? '\u2713 right' : '\u2717 wrong'}${share}`,
  );
}

// Without the line's end that an answer begins with after "<reasoning>".
function textBlock(text) {
  return el('pre', { class: 'text' }, marked(text.replace(/^\n/, '')));
}

function answerBlock(text, against) {
  if (against !== null) {
    const different = differing(text, against);
    if (different) return el('pre', { class: 'text' }, different);
  }
  const found = /<answer>[\s\S]*?(?:<\/answer>|$)/.exec(text);
  if (!found) return textBlock(text);
  const end = found.index + found[0].length;
  return el(
    'pre',
    { class: 'text' },
    marked(text.slice(0, found.index).replace(/^\n/, '')),
    el('b', {}, marked(found[0])),
    marked(text.slice(end)),
  );
}

// A text as nodes: special tokens pale and each run of them once, what was searched for marked.
function marked(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(/(<\|[^|<>]{1,40}\|>)(?:\1)*/g)) {
    nodes.push(...sought(text.slice(from, found.index)));
    const times = found[0].length / found[1].length;
    nodes.push(el('span', { class: 'special' }, visible(found[1]) + (times > 1 ? ` \u00d7 ${times}` : '')));
    from = found.index + found[0].length;
  }
  nodes.push(...sought(text.slice(from)));
  return nodes;
}

function sought(text) {
  if (!view.search) return text ? [visible(text)] : [];
  const low = text.toLowerCase();
  if (low.length !== text.length) return [visible(text)];
  const nodes = [];
  let from = 0;
  for (
    let at = low.indexOf(view.search);
    at >= 0 && nodes.length < 400;
    at = low.indexOf(view.search, from)
  ) {
    nodes.push(
      visible(text.slice(from, at)),
      el('mark', {}, visible(text.slice(at, at + view.search.length))),
    );
    from = at + view.search.length;
  }
  nodes.push(visible(text.slice(from)));
  return nodes;
}

// The words of a text, those marked that are not in the longest common run of words with the other text.
function differing(text, other) {
  const [a, b] = [text, other].map((one) => one.split(/(?<=\s)|(?=[<\\])/));
  if (a.length * b.length > 1e6) return null;
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i][j] =
        a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const nodes = [];
  let j = 0;
  a.forEach((word, i) => {
    while (j < b.length && word !== b[j] && lengths[i][j + 1] >= lengths[i + 1][j]) j += 1;
    const same = j < b.length && word === b[j] && lengths[i][j] === lengths[i + 1][j + 1] + 1;
    if (same) j += 1;
    nodes.push(same ? visible(word) : el('span', { class: 'diff' }, visible(word)));
  });
  return nodes;
}

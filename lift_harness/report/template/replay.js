// The decoding of one answer, step by step: which positions were committed when, and how sure the model was.

const CLASSES = 5; // of confidence, each a fifth
const playing = new Set(); // what stops each replay that is playing

function stopReplay() {
  for (const stop of [...playing]) stop();
}

// The replay of an answer, and beside it that of another to the same problem.
function replaySection(i) {
  const traces = DATA.browser.traces.filter((trace) => trace.item === i);
  if (!traces.length) return null;
  const name = (trace) =>
    `${DATA.arms[trace.arm].name}, ${trace.label === 0 ? 'one answer' : `answer ${trace.sample + 1} of n`}`;
  const of = (arm, otherwise) => {
    const found = traces.findIndex((trace) => trace.arm === arm);
    return found < 0 ? otherwise : found;
  };
  const chosen = [of(sides.right === null ? DATA.arms.length - 1 : sides.right, 0), -1];
  if (DATA.sweep && traces.length > 1) {
    chosen[0] = of(sides.left === null ? 0 : sides.left, 0);
    chosen[1] = of(sides.right === null ? DATA.arms.length - 1 : sides.right, traces.length - 1);
  }
  const place = el('div', { class: 'pair' });
  let players = [];
  const draw = () => {
    stopReplay();
    players = chosen.filter((k) => k >= 0).map((k, side) => player(traces[k], side ? '-2' : ''));
    put(
      place,
      players.map((one) => el('div', {}, one.nodes)),
    );
    both.disabled = players.length < 2;
  };
  const both = el('button', { type: 'button', id: 'play-both', onclick: () => together() }, 'Play both');
  // Both from the beginning, a step of the one for a step of the other.
  function together() {
    const pace = paceOf(Math.max(...players.map((one) => one.steps)));
    stopReplay();
    players.forEach((one) => one.play(pace));
  }
  const names = traces.map((trace, k) => [k, name(trace)]);
  const pick = (side, label, options, id) =>
    choice(
      label,
      options,
      chosen[side],
      (k) => {
        chosen[side] = Number(k);
        draw();
      },
      id,
    );
  draw();
  return [
    el('h4', {}, 'Replay of the decoding'),
    el(
      'div',
      { class: 'replay', id: 'replay' },
      el(
        'div',
        { class: 'controls' },
        pick(0, 'Decoded by', names, 'replay-trace'),
        traces.length > 1 ? pick(1, 'Beside it', [[-1, 'nothing'], ...names], 'replay-beside') : null,
        traces.length > 1 ? both : null,
      ),
      place,
    ),
  ];
}

function shade(confidence) {
  return confidence === null ? 'q-none' : `q${Math.min(CLASSES - 1, Math.floor(confidence * CLASSES))}`;
}

function sure(confidence) {
  return confidence === null ? 'unknown' : confidence.toFixed(3);
}

// One replay: {nodes, play}; `mark` ends the ids of the second.
function player(trace, mark) {
  const { tokens, step, confidence } = trace;
  const last = Math.max(...step);
  const total = step.filter((s) => s >= 0).length;
  const cells = tokens.map((token, i) =>
    el('span', {
      class: 'token',
      title: step[i] < 0 ? 'given' : `position ${i}, step ${step[i] + 1}, confidence ${sure(confidence[i])}`,
    }),
  );
  const canvas = el(
    'div',
    {
      class: 'canvas',
      id: `canvas${mark}`,
      tabindex: '0',
      role: 'group',
      'aria-label': 'The answer as it is decoded; arrow keys step, space plays',
    },
    cells,
  );
  const slider = el('input', {
    type: 'range',
    id: `step${mark}`,
    min: 0,
    max: last + 1,
    value: last + 1,
    'aria-label': 'Step',
    oninput: () => show(Number(slider.value)),
  });
  const play = el('button', { type: 'button', id: `play${mark}`, onclick: () => toggle() }, 'Play');
  const said = el('p', { class: 'muted', id: `step-said${mark}` });
  const map = commitMap(trace, last, (to) => show(to));
  let now = -1;

  function show(to) {
    const from = now;
    now = Math.min(last + 1, Math.max(0, to));
    slider.value = now;
    slider.setAttribute('aria-valuetext', `step ${now} of ${last + 1}`);
    cells.forEach((cell, i) => {
      const state = step[i] < now ? (step[i] === now - 1 ? 'fresh' : 'done') : 'masked';
      const before = from < 0 ? '' : step[i] < from ? (step[i] === from - 1 ? 'fresh' : 'done') : 'masked';
      if (state !== before) paint(cell, i, state);
    });
    const fresh = step.flatMap((s, i) => (now > 0 && s === now - 1 ? [i] : []));
    const done = step.filter((s) => s >= 0 && s < now).length;
    const known = fresh.map((i) => confidence[i]).filter((c) => c !== null);
    said.textContent =
      `Step ${now} of ${last + 1}: ${done} of ${count(total, 'token')} committed` +
      (fresh.length ? `, ${fresh.length} in this step` : '') +
      (known.length
        ? `, mean confidence ${(known.reduce((a, b) => a + b, 0) / known.length).toFixed(2)}`
        : '');
    map.show(now);
  }

  function paint(cell, i, state) {
    const given = step[i] < 0;
    cell.className = `token ${state === 'masked' ? 'masked' : given ? 'given' : shade(confidence[i])}${state === 'fresh' && !given ? ' fresh' : ''}`;
    cell.dataset.state = state;
    // A mask takes the place that its token will take, so that nothing moves.
    cell.textContent = spaced(tokens[i]);
    if (/\n/.test(tokens[i])) cell.classList.add('breaks');
  }

  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    playing.delete(stop);
    play.textContent = 'Play';
  };

  function start(pace) {
    if (now > last) show(0);
    play.textContent = 'Pause';
    playing.add(stop);
    timer = setInterval(
      () => {
        if (!canvas.isConnected || now > last) stop();
        else show(now + 1);
      },
      pace,
    );
  }

  function toggle() {
    if (timer) stop();
    else start(paceOf(last + 1));
  }

  const keys = (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.target === canvas && event.key in moves) {
      event.preventDefault();
      show(Number.isFinite(moves[event.key]) ? now + moves[event.key] : moves[event.key] > 0 ? last + 1 : 0);
    } else if (event.key === ' ' && (event.target === canvas || event.target === slider)) {
      event.preventDefault();
      toggle();
    }
  };
  canvas.addEventListener('keydown', keys);
  slider.addEventListener('keydown', keys);
  const step1 = (by, text, name) =>
    el('button', { type: 'button', 'aria-label': name, onclick: () => show(now + by) }, text);
  show(last + 1);
  const nodes = [
    el(
      'div',
      { class: 'transport' },
      play,
      step1(-1, '\u2190', 'One step back'),
      slider,
      step1(1, '\u2192', 'One step on'),
    ),
    said,
    rampKey(),
    canvas,
    map.node,
  ];
  const again = (pace) => {
    show(0);
    start(pace);
  };
  return { nodes, steps: last + 1, play: again };
}

// Milliseconds a step.
function paceOf(steps) {
  return Math.max(60, Math.min(250, 12000 / steps));
}

// White space as it is, other than a line's end, which shows, too.
function spaced(token) {
  return visible(token.replace(/\r/g, '')).replace(/\n/g, '\u21b5\n') || '\u2205';
}

function rampKey() {
  const names = Array.from(
    { length: CLASSES },
    (_, i) => `${(i / CLASSES).toFixed(1)}\u2013${((i + 1) / CLASSES).toFixed(1)}`,
  );
  return el(
    'div',
    { class: 'ramp', role: 'group', 'aria-label': 'Key' },
    el('span', {}, 'confidence when committed'),
    names.map((name, i) => el('span', { class: `token q${i}` }, name)),
    el('span', { class: 'token masked still' }, 'masked'),
    el('span', { class: 'token q4 fresh' }, 'this step'),
  );
}

// Position against step, a mark a token: the order of decoding at a glance. A click goes to that step.
function commitMap({ tokens, step, confidence }, last, show) {
  const box = el('div', { class: 'plot low map' });
  const height = 150;
  let width = 0;
  let line = null;
  let frame = null;
  let now = last + 1;
  const draw = () => {
    const spec = {
      x: { label: 'position in the answer', whole: true, domain: [0, Math.max(1, tokens.length - 1)] },
      y: { label: 'step of commitment', whole: true, domain: [0, last + 1] },
    };
    frame = axes(spec, [], width, height);
    const size = Math.max(3, Math.min(9, (frame.right - frame.left) / tokens.length));
    const tall = Math.max(3, Math.min(9, (frame.bottom - frame.top) / (last + 2)));
    const marks = step.flatMap((s, i) =>
      s < 0
        ? []
        : [
            svg('rect', {
              x: frame.x.at(i) - size / 2,
              y: frame.y.at(s + 1) - tall / 2,
              width: size,
              height: tall,
              class: shade(confidence[i]),
            }),
          ],
    );
    line = svg('line', { x1: frame.left, x2: frame.right, class: 'now' });
    const root = svg(
      'svg',
      {
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        role: 'img',
        'aria-label': 'Step at which each position was committed',
      },
      frame.nodes,
      marks,
      line,
    );
    root.addEventListener('click', (event) => {
      const y = event.clientY - root.getBoundingClientRect().top;
      show(Math.round(((frame.bottom - y) / (frame.bottom - frame.top)) * (last + 1)));
    });
    box.replaceChildren(root);
    place();
  };
  const place = () => {
    if (!line) return;
    line.setAttribute('y1', frame.y.at(now));
    line.setAttribute('y2', frame.y.at(now));
  };
  new ResizeObserver(() =>
    requestAnimationFrame(() => {
      const found = Math.floor(box.clientWidth);
      if (found && found !== width) {
        width = found;
        draw();
      }
    }),
  ).observe(box);
  return {
    node: box,
    show: (to) => {
      now = to;
      place();
    },
  };
}

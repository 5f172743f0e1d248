// From data to pixels: linear, logarithmic and category axes with round ticks.

function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 1] : [low, high];
}

// 1, 2, 2.5 or 5 times a power of ten; of a count a whole number.
function roundStep(span, wanted, whole) {
  const rough = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  return (
    [1, 2, 2.5, 5, 10]
      .map((m) => m * power)
      .find((step) => step >= rough * 0.8 && (!whole || Number.isInteger(step))) || 1
  );
}

function linear(domain, range, wanted, whole) {
  let [low, high] = domain;
  if (high - low < 1e-12) {
    const pad = Math.abs(low) * 0.1 || 1;
    [low, high] = [low - pad, high + pad];
  }
  const step = roundStep(high - low, wanted, whole);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1)
    ticks.push(Number((i * step).toPrecision(12)));
  return { at: (v) => range[0] + ((v - low) / (high - low)) * (range[1] - range[0]), ticks, low, high };
}

function logarithmic(domain, range, wanted) {
  const [a, b] = domain.map(Math.log10);
  const [low, high] = b - a < 1e-9 ? [a - 0.3, b + 0.3] : [a, b];
  const at = (v) => range[0] + ((Math.log10(v) - low) / (high - low)) * (range[1] - range[0]);
  const inside = (v) => Math.log10(v) >= low - 1e-9 && Math.log10(v) <= high + 1e-9;
  const powers = [];
  for (let e = Math.floor(low); e <= Math.ceil(high); e += 1) powers.push(e);
  const mantissas =
    powers.length - 1 <= 1 ? [1, 2, 3, 5, 7] : powers.length - 1 <= wanted / 2 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(powers.length / (wanted + 1)));
  const ticks = powers
    .filter((e) => e % every === 0)
    .flatMap((e) => mantissas.map((m) => Number((m * 10 ** e).toPrecision(3))))
    .filter(inside);
  return {
    at,
    ticks: ticks.length > 1 ? ticks : linear([10 ** low, 10 ** high], range, wanted).ticks,
    low: 10 ** low,
    high: 10 ** high,
  };
}

// The middle of each category's share of the axis.
function bands(names, range) {
  const step = (range[1] - range[0]) / names.length;
  return { at: (i) => range[0] + (i + 0.5) * step, ticks: names.map((_, i) => i), step };
}

// 1500 as 1.5k, 0.0005 as 5e-4: short, for ticks.
function short(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size < 0.001) return Number(value.toPrecision(3)).toExponential().replace('e-0', 'e-');
  return String(Number(value.toPrecision(4)));
}

// About how wide a text of 11 pixels is.
function textWidth(text) {
  return 6.4 * text.length;
}

// The page from its sections.

function notesSection() {
  const lines = [...DATA.notes];
  return section(
    'notes',
    'What is missing',
    'Missing',
    lines.length
      ? el(
          'ul',
          {},
          lines.map((line) => el('li', {}, visible(line))),
        )
      : el('p', {}, 'Nothing: the run holds all that this page can show.'),
  );
}

const sections = [
  resultsSection(),
  speedSection(),
  passSection(),
  breakdownSection(),
  costSection(),
  trainingSection(),
  frequencySection(),
  browserSection(),
  notesSection(),
].filter(Boolean);
document.getElementById('page').append(
  pageHeader(),
  el(
    'nav',
    { 'aria-label': 'Sections' },
    sections.map((one) => el('a', { href: `#${one.id}` }, one.dataset.short)),
  ),
  el('main', {}, sections),
);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') tip.hidden = true;
});
// For tests and for those who look inside.
document.documentElement.dataset.ready = 'yes';

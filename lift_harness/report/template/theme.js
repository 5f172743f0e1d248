// Before anything is drawn: the theme chosen on an earlier visit, else the system's.
(function () {
  'use strict';
  const root = document.documentElement;
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  let chosen = 'auto';
  try {
    chosen = localStorage.getItem('lift-harness-theme') || 'auto';
  } catch (error) {
    /* a page from a file may have no storage */
  }
  function apply() {
    const dark = chosen === 'dark' || (chosen === 'auto' && system.matches);
    root.dataset.theme = dark && !printing ? 'dark' : 'light';
  }
  let printing = false;
  apply();
  system.addEventListener('change', apply);
  window.addEventListener('beforeprint', () => {
    printing = true;
    apply();
  });
  window.addEventListener('afterprint', () => {
    printing = false;
    apply();
  });
  window.reportTheme = {
    get: () => chosen,
    set: (theme) => {
      chosen = theme;
      apply();
      try {
        localStorage.setItem('lift-harness-theme', theme);
      } catch (error) {
        /* then it lasts as long as the page */
      }
    },
  };
})();

// The replay on a page of its own (report/replay.py).

put(document.getElementById('page'), player(DATA, '').nodes);
document.documentElement.dataset.ready = 'yes';

import pytest

from lift_harness.compare import quoting
from lift_harness.tasks.wording import Wording


@pytest.fixture(scope="module", autouse=True)
def _the_words_of_these_logs_are_the_authors():
    """The authors' own are not in the project; `support.eval_files` writes "Solve." everywhere."""
    words = (Wording("Solve.").sha256,)
    with pytest.MonkeyPatch.context() as patch:
        for task in quoting.WORDINGS:
            patch.setitem(quoting.WORDINGS, task, words)
        yield

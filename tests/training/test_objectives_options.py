"""Options of the training objectives: what is refused, each in one line."""

import math

import pytest

from lift_harness.errors import LiftError
from lift_harness.training.objectives import get_objective


@pytest.mark.parametrize(
    "name, options, message",
    [
        *[("lift", {"H": H}, f"H={H!r}: .* whole number") for H in (1, 0, -3, True, 2.0, "3", None)],
        ("lift_a", {"H": 1}, "H=1: .* at least 2"),
        ("lift", {"rho": "fixd:0.2"}, "rho='fixd:0.2': known are uniform, fixed:k and truncated:k"),
        ("topk", {"rho": "fixed:"}, "rho='fixed:'"),
        ("topk", {"rho": "fixed"}, "rho='fixed'"),
        ("random2", {"rho": "fixed:nan"}, "rho='fixed:nan'"),
        ("bottomk", {"rho": "truncated:-0.1"}, "k from 0 to 1"),
        ("bottomk", {"rho": "truncated:1.5"}, "k from 0 to 1"),
        ("lift", {"rho": "uniform:0.1"}, "rho='uniform:0.1'"),
        ("lift", {"rho": 0.2}, "rho=0.2"),
        ("lift_a", {"rho": None}, "rho=None"),
        ("lift", {"variant": "published"}, "variant='published': must be paper or release"),
        ("lift", {"variant": ["paper"]}, "variant=.*must be paper or release"),
        ("lift", {"variant": "release", "rho": "fixed:0.2"}, "rho='fixed:0.2': variant: release has"),
        ("gift", {"weight": "elbo"}, "weight='elbo': must be published or nelbo"),
        ("gift", {"reference": 1}, "reference=1: must be true or false"),
        ("gift", {"variant": "code"}, "variant='code': must be paper or release"),
        ("gift", {"variant": "release", "weight": "nelbo"}, "weight='nelbo': variant: release has only publ"),
        ("gift", {"variant": "release", "reference": True}, "reference=True: variant: release has only fal"),
        *[
            ("cart", {"p": p}, "p=.* between 0 and 1")
            for p in (0, 1, -0.1, 1.5, math.nan, math.inf, "0.1", True)
        ],
        *[("density", {"w": w}, "w=.* above 0") for w in (0, -0.5, -2, math.nan, math.inf, "2", False, [2])],
        ("density", {"hard": "yes"}, "hard='yes': must be true or false"),
        ("density", {"complementary": 0}, "complementary=0: must be true or false"),
        ("density", {"hard": True, "w": 3}, "w=3: hard: true is w -> infinity"),
        ("vanila", {}, "unknown objective 'vanila'; did you mean vanilla"),
        (["lift"], {}, "unknown objective"),
        (None, {}, "unknown objective None"),
        ("vanilla", {"H": 3}, "has no option 'H'; it has: complementary, weight, normalise, t_range, noise"),
        ("vanilla", {"weight": "one"}, "weight='one': must be one_over_t or none"),
        ("density", {"normalise": True}, "normalise=True: must be response or masked or sequence or batch"),
        ("vanilla", {"complementary": 1}, "complementary=1: must be true or false"),
        *[(name, {"noise": "blocks"}, "noise='blocks': must be sequence or") for name in ("lift", "cart")],
        ("lift", {"h": 3}, "objective 'lift' has no option 'h'; it has: H, rho, variant, t_range, noise"),
        ("topk", {"H": 3}, "objective 'topk' has no option 'H'; it has: rho, t_range, noise"),
        *[
            (name, {"t_range": value}, "t_range=.* within .0, 1., e.g. .0.3, 0.8.")
            for name in ("vanilla", "density", "lift")
            for value in ([0, 1], [0.8, 0.3], [0.5, 0.5], [0.3, 1.1], [-0.1, 0.5], [0.3, math.nan])
        ],
        *[
            ("cart", {"t_range": value}, "t_range=.*: give the lowest and the highest t")
            for value in (0.3, "0.3", [0.3], [0.1, 0.2, 0.3], ["0.3", "0.8"], [True, 1], {"low": 0.3})
        ],
        ("gift", {"metric": "surprise"}, "metric='surprise': must be sqrt_entropy or entropy or nll"),
        ("gift", {"form": "both"}, "form='both': must be masking or weighting"),
        ("gift", {"variant": "release", "metric": "nll"}, "metric='nll': variant: release has only sqrt_ent"),
        ("gift", {"variant": "release", "form": "weighting"}, "form='weighting': variant: release has only"),
        ("gift", {"form": "weighting", "weight": "nelbo"}, "weight='nelbo': form: weighting has weights of"),
        *[("dream", {"p": p}, "p=.* between 0 and 1") for p in (0, 1)],
        (
            "gift",
            {"reference_model": None},
            "no option 'reference_model'; it has: weight, reference, metric, form, variant, t_range, noise",
        ),
    ],
)
def test_bad_names_options_and_values_are_one_line(name, options, message):
    with pytest.raises(LiftError, match=message) as error:
        get_objective(name, **options)
    assert "\n" not in str(error.value)

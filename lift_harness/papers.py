"""The papers whose methods and numbers are here, by the names that recipes use."""

LIFT, GIFT, DENSITY = "arXiv 2605.22939", "arXiv 2509.20863", "arXiv 2603.15803"
PAPERS = {"LIFT": LIFT, "GIFT": GIFT, "density": DENSITY}

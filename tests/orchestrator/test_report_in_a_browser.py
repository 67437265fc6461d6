"""The report in a real browser without a network: every figure is drawn, nothing is asked for or complained of."""

from dataclasses import replace

import pytest
from playwright.sync_api import sync_playwright

from model.config import HeadConfig, TrialConfig
from orchestrator.finished import read_finished
from orchestrator.paths import SweepPaths
from orchestrator.report_page import draw_report
from scripts.pictures import CHROMIUM, FLAGS
from tests.finished import PAIR, entry, trial, write_confirmation, write_sweep

pytestmark = pytest.mark.slow
if not CHROMIUM.is_file():
    pytest.skip(
        f"no Chromium at {CHROMIUM}: apt-get install --no-install-recommends chromium",
        allow_module_level=True,
    )
FIGURES = [
    "Scores by rank",
    "Learning curves",
    "Learning rate and score",
    "Score against training time",
    "What varies, and what it comes to",
]
FOUND = ["Confirmed on fresh seeds", "What matters", "Alone and shared"]
"""Of the smaller sweep, after its scores."""
TRIALS, LARGE = 7, 120
QUESTION = "<script>document.title = 'taken'</script> Which heads?"
COUNTED = """
plots => plots.map(plot => [
    plot.getAttribute("aria-label"), plot.data.length,
    plot.querySelectorAll(":is(.scatterlayer, .barlayer) .trace").length,
    plot.querySelectorAll(":is(.scatterlayer, .barlayer) path").length, plot.getBoundingClientRect().width,
])
"""


IMPORTANCES = [
    {"parameter": path, "levels": 4, "effect": 0.01, "floor": 0.004, "p": 0.01, "p_apart": 0.01, "finding": finding}
    | {"seed_noise_unknown": True}
    for path, finding in zip(
        ("learning_rate", "heads.common_layers", "heads.task_layers"), ("matters", "not told apart", "within noise"),
        strict=True,
    )
]  # fmt: skip


def figures(trials):
    """Return the titles of the figures in the report of so many trials."""
    return [FIGURES[0], *(FOUND if trials == TRIALS else []), *FIGURES[1:]]


@pytest.fixture(scope="module", params=[TRIALS, LARGE], ids="{} trials".format)
def opened(request, tmp_path_factory, bare_plan):
    """Open the report of so many trials at 1280 px; give its page, what it asked for and what it complained of."""
    paths = SweepPaths(tmp_path_factory.mktemp("runs"), "exp4")
    configs = [
        TrialConfig(heads=HeadConfig(common_layers=n % 10, task_layers=1 + n % 4), learning_rate=1e-6 * (1 + n))
        for n in range(request.param)
    ]
    trials = [
        trial(n, config, [entry(e, (0.4 + n / 1000, 0.7 + e / 100, 0.8), 5 + n % 9) for e in (1, 2, 3)])
        for n, config in enumerate(configs)
    ]
    found = {}
    if request.param == TRIALS:
        write_confirmation(paths, trials[:4], ("baseline", "better", "undecided", "worse"), champion=3)
        found = {"importances": IMPORTANCES, "transfer": [PAIR, PAIR | {"task": "similarity", "verdict": "helped"}]}
    write_sweep(paths, replace(bare_plan(configs, question=QUESTION), seeds=1), trials, **found)
    draw_report(paths, read_finished(paths).board, 0.4, "http://127.0.0.1:9/#/x")
    asked, said = [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda each: asked.append(each.url))
        page.on("console", lambda each: said.append(each.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.route("**", lambda route: route.continue_() if route.request.url.startswith("file://") else route.abort())
        page.goto(paths.report.as_uri())
        page.locator(".figure .main-svg").nth(2 * len(figures(request.param)) - 1).wait_for(state="attached")
        yield page, asked, said, figures(request.param)
        browser.close()


def test_every_figure_is_drawn_with_all_its_traces(opened):
    """Each has an svg with a path for every trace that it was given, and the page's width."""
    page, _, _, names = opened

    found = page.locator(".figure").evaluate_all(COUNTED)

    assert [name for name, *_ in found] == names
    for name, given, drawn, shapes, width_px in found:
        assert given == drawn > 0, name
        assert shapes >= drawn, name
        assert 1000 < width_px <= 1280, name


def test_it_asks_for_nothing_and_complains_of_nothing(opened):
    """Its own file is all that is read; the console stays empty."""
    _, asked, said, _ = opened

    assert len([url for url in asked if not url.startswith(("data:", "blob:"))]) == 1
    assert said == []


def test_a_question_is_read_and_not_run(opened):
    """What a person wrote stands in the headline as it is."""
    page, *_ = opened

    assert page.title() == f"exp4: {QUESTION}"
    assert page.locator("h1").inner_text() == QUESTION


def test_the_page_is_no_wider_than_the_window(opened):
    """At 1280 px nothing is cut off; the table has a scroll bar of its own where it needs one."""
    page, *_ = opened

    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("table tbody tr").count() in (TRIALS, LARGE)


def test_pointing_at_a_config_tells_what_it_is(opened):
    """Its score, its interval and all that varies."""
    page, *_ = opened

    page.evaluate("Plotly.Fx.hover(document.querySelector('.figure'), [{curveNumber: 0, pointNumber: 0}])")

    said = page.locator(".figure").first.locator(".hoverlayer").text_content()
    assert "rank" in said
    assert "95 %" in said
    assert "common_layers" in said

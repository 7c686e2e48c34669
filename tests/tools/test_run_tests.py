# SPDX-License-Identifier: Apache-2.0
import pytest
import run_tests


@pytest.mark.parametrize(
    "text, ctest_passed, expected",
    [
        ("1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP why\n", False, (1, 1, 1)),
        ("1..2\nok 1 - a\n", False, (1, 1, 0)),  # the runner died in the middle
        ("no TAP", True, (1, 0, 0)),
        ("no TAP", False, (0, 1, 0)),
        ("ok 1 - a\nnot ok 2 - b\n", True, (1, 1, 0)),  # a wrong exit status hides nothing
    ],
)
def test_tap_counts(text, ctest_passed, expected):
    counts = run_tests.tap_counts(text, ctest_passed)
    assert (counts["passed"], counts["failed"], counts["skipped"]) == expected


def test_ctest_report(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        """<testsuite>
        <testcase name="a" status="run"><system-out>ok 1 - x\nok 2 - y</system-out></testcase>
        <testcase name="b" status="fail"><failure message=""/><system-out>boom</system-out>
        </testcase>
        <testcase name="c" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
        <system-out>ok 1 - x # SKIP no GPU</system-out></testcase>
        </testsuite>"""
    )
    assert run_tests.ctest_counts(report) == {"passed": 2, "failed": 1, "skipped": 1}


def test_pytest_report(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        """<testsuites><testsuite><testcase/><testcase><failure/></testcase>
        <testcase><error/></testcase><testcase><skipped/></testcase></testsuite></testsuites>"""
    )
    assert run_tests.pytest_counts(report) == {"passed": 1, "failed": 2, "skipped": 1}


def test_a_suite_that_dies_without_a_report_counts_as_failed(tmp_path):
    counts = run_tests.pytest_counts(tmp_path / "missing.xml")
    assert run_tests.at_least_one_failure(counts, 2)["failed"] == 1

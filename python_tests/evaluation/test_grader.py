"""The grader on pairs made by hand, and on what would hang or break it."""

from __future__ import annotations

import os
import time

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install '.[eval]'")

from mmr_kernels.evaluation import grader
from mmr_kernels.evaluation.grader import Grade, grade, grade_all, read_gold

#: Gold, completion.
RIGHT = [
    ("11", r"<think> It is \boxed{12}. </think> The answer is 11."),
    ("11", r"It is \boxed{12}, no: </think> The answer is 11."),
    ("33", r"\boxed{33}"),
    ("33", "The answer is 33."),
    ("33", "so we get 33"),
    ("033", r"\boxed{33}"),
    ("27.0", r"\boxed{27}"),
    (r"\frac12", r"\boxed{0.5}"),
    (r"$\frac{1}{2}$", r"\boxed{\frac{2}{4}}"),
    (r"$\frac{1}{2}$", "the answer is 1/2"),
    (r"\frac{1}{3}", r"\boxed{0.33333}"),
    (r"\sqrt{8}", r"\boxed{2\sqrt{2}}"),
    (r"\sqrt{8}", r"\boxed{2.828427}"),
    ("x^2+2x+1", r"\boxed{(x+1)^2}"),
    (r"10\text{ cm}", r"\boxed{10}"),
    ("10", r"\boxed{10\text{ cm}}"),
    ("10", r"\boxed{10 \mathrm{~m/s}}"),
    (r"90^\circ", r"\boxed{90}"),
    ("90", r"\boxed{90^\circ}"),
    ("(0,1)", r"\boxed{(0,1)}"),
    ("[0,1)", r"\boxed{[0,1)}"),
    (r"(-\infty, 2)\cup(3,\infty)", r"\boxed{(3,\infty)\cup(-\infty,2)}"),
    (r"(-\infty, 2)", r"\boxed{x<2}"),
    (r"\{1,2,3\}", r"\boxed{\{3,2,1\}}"),
    ("1,2,3", r"\boxed{3,2,1}"),
    ("1,-2", "$x=1$ or $x=-2$"),
    ("1,-2", r"\boxed{1,-2}"),
    ("1,-2", r"\boxed{1 \text{ and } -2}"),
    (r"\pm 2", r"\boxed{2,-2}"),
    (r"2\frac{1}{2}", r"\boxed{2.5}"),
    (r"2\frac12", r"\boxed{\frac{5}{2}}"),
    ("5/2", r"\boxed{2\frac{1}{2}}"),
    (r"50\%", r"\boxed{50\%}"),
    (r"50\%", r"\boxed{0.5}"),
    (r"50\%", r"\boxed{50}"),
    ("50", r"\boxed{50\%}"),
    ("1000", r"\boxed{1,000}"),
    ("1,234,567", r"\boxed{1234567}"),
    ("1234567", "The answer is 1,234,567"),
    ("10^{6}", r"\boxed{1000000}"),
    (r"6.02\times 10^{23}", r"\boxed{6.02e23}"),
    (r"6.02\times 10^{23}", r"\boxed{6.02 \cdot 10^{23}}"),
    (r"\pi", r"\boxed{3.14159}"),
    ("2^{10}", r"\boxed{1024}"),
    ("y=2x+1", r"\boxed{y = 1+2x}"),
    ("2x+1", r"\boxed{y=2x+1}"),
    (r"\text{Evelyn}", r"\boxed{\text{Evelyn}}"),
    (r"\text{(C)}", r"\boxed{C}"),
    (r"\text{(C)}", r"\boxed{\text{(C)}}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}"),
    ("11", r"<think> maybe \boxed{12} </think> so \boxed{11}"),
    ("12", r"<think> maybe \boxed{12}"),
    (r"We add. The answer is $5$. Hence $x=\boxed{7}$ and $3$.", r"\boxed{7}"),
    ("1+2i", r"\boxed{2i+1}"),
    ("0", r"\boxed{0}"),
    (r"\$32", r"\boxed{32}"),
    ("32", r"\boxed{\$32}"),
    ("204", r"Therefore, the final answer is: $\boxed{204}$. I hope it is correct"),
    (r"(3,\frac{\pi}{2})", r"\boxed{\left( 3, \frac{\pi}{2} \right)}"),
    ("6 - 5i", r"\boxed{6-5i}"),
    ("4.5e33", r"\boxed{4.5\times 10^{33}}"),
    ("4.5e33", r"\boxed{4.5e33}"),
    (r"We get \boxed{4.5e33} erg", r"$4.5 \cdot 10^{33}$"),
    ("7e-3", "the answer is 7e-3"),
    ("7e-3", "it is 0.007"),
    ("2e^{3}", r"\boxed{2e^3}"),
    ("2e", r"\boxed{2e}"),
    ("(-1,1)", r"\boxed{-1<x<1}"),
    ("3.2e-7", r"\boxed{3.2\times 10^{-7}}"),
    (
        "204",
        "We try \\boxed{1} at first.\n\nThis contradicts the second condition, so it is the other one that"
        " is meant.\n\n\\boxed{204}",
    ),
]
WRONG = [
    ("12", r"<think> It is \boxed{12}. </think> The answer is 11."),
    ("33", r"\boxed{34}"),
    ("33", ""),
    ("33", "no idea"),
    (r"\frac{1}{3}", r"\boxed{0.333}"),
    (r"\sqrt 8", r"\boxed{2\sqrt 3}"),
    ("x^2+2x+1", r"\boxed{(x-1)^2}"),
    ("10", r"\boxed{11\text{ cm}}"),
    ("[0,1)", r"\boxed{[0,1]}"),
    (r"(-\infty, 2)", r"\boxed{x\le 2}"),
    (r"\{1,2,3\}", r"\boxed{\{1,2\}}"),
    (r"2\frac12", r"\boxed{1}"),
    (r"50\%", r"\boxed{5\%}"),
    ("1000", r"\boxed{10000}"),
    (r"\pi", r"\boxed{3.14}"),
    ("1024", r"\boxed{1025}"),
    (r"\text{Evelyn}", r"\boxed{\text{Briana}}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix}2\\1\end{pmatrix}}"),
    ("12", r"<think> maybe \boxed{12} </think> so \boxed{11}"),
    (r"We add. The answer is $5$. Hence $x=\boxed{7}$ and $3$.", r"\boxed{5}"),
    ("1+2i", r"\boxed{1-2i}"),
    ("-3", r"\boxed{3}"),
    ("204", r"first \boxed{204}, then \boxed{1}"),
    ("4.5e33", r"\boxed{4.5e32}"),
    ("(-1,1)", r"\boxed{-1\le x<1}"),
]


@pytest.mark.parametrize(("gold", "completion"), RIGHT)
def test_equal_answers_are_right(gold: str, completion: str) -> None:
    assert grade(gold, completion).correct


@pytest.mark.parametrize(("gold", "completion"), WRONG)
def test_other_answers_are_wrong(gold: str, completion: str) -> None:
    assert not grade(gold, completion).correct


def test_the_answer_is_told_as_it_is_read() -> None:
    assert grade("3", r"so \boxed{\frac{6}{2}} it is") == Grade(True, "3")
    assert grade("3", "I don't know") == Grade(False, None)
    assert grade("3", "") == Grade(False, None)


def test_what_math_verify_cannot_read_is_no_gold() -> None:
    assert not read_gold("")
    assert not read_gold("We see that $$.")


def test_huge_powers_hang_nothing() -> None:
    """math-verify stops itself after five seconds, or its process may take no more memory."""
    towers = [("3", tower) for tower in (r"\boxed{9^{9^{9^9}}}", r"\boxed{(10^{10^{10}})!}")]
    assert [each.correct for each in grade_all([*towers, ("3", "3")], int)] == [False, False, True]


def breaking(gold: str, completion: str) -> Grade:
    """A grader that never returns, breaks its process, has no memory, or works."""
    if completion == "hang":
        time.sleep(600)
    if completion == "break":
        os._exit(1)
    if completion == "memory":
        raise MemoryError
    return Grade(True, completion)


def test_a_process_that_hangs_or_breaks_is_ended_and_the_rest_is_graded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grader, "grade", breaking)
    monkeypatch.setattr(grader, "HARD_LIMIT", 5)
    ticks: list[None] = []
    texts = ["1", "hang", "2", "break", "memory", "3"]
    grades = grade_all([("", text) for text in texts], lambda: ticks.append(None))
    assert [each.answer for each in grades] == ["1", None, "2", None, None, "3"]
    assert len(ticks) == len(texts)

"""The nearest name, also among thousands."""

from __future__ import annotations

import time

from comfyone.graph.spelling import nearest, or_nearest


def test_the_same_path_written_otherwise_comes_first() -> None:
    known = ["sd/owls.ckpt", "SD\\owl.ckpt", "other/owl.ckpt", "fox.ckpt", 5, None]
    assert nearest("sd/owl.ckpt", known) == ("SD\\owl.ckpt", "other/owl.ckpt", "sd/owls.ckpt")


def test_nothing_is_near_what_is_far() -> None:
    assert nearest("zzz", ["owl", "fox"]) == ()
    assert nearest("", ["owl"]) == ()
    assert or_nearest(()) == ""
    assert or_nearest(("owl", 5)) == "; near it: 'owl', 5"


def test_one_of_many_thousands_is_found_in_a_moment() -> None:
    known = [f"model_{number:05}_fp16.safetensors" for number in range(20_000)]
    begin = time.perf_counter()
    assert nearest("model_01234_fp16.safetensor", known)[0] == "model_01234_fp16.safetensors"
    assert time.perf_counter() - begin < 2

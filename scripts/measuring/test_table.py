"""What the table promises."""

import unittest
from types import SimpleNamespace

from .table import Better, Figure, Sample, Settled, costs, judged, legend, ratio, results, settle, shown

SPEED = Figure("speed", "Read", "MB/s", Better.HIGHER)
READ = SimpleNamespace(name="read", figures=(SPEED,), per="GiB")


def sample(client, speed, **more):
    return Sample(client, "read", {"speed": speed}, **more)


class Settling(unittest.TestCase):
    def settled(self, *samples):
        return settle(list(samples), lambda sample: sample.figures["speed"])

    def test_the_median_is_taken_and_not_the_mean(self):
        self.assertEqual(self.settled(sample("a", 1), sample("a", 100), sample("a", 2)), Settled(2))

    def test_rounds_with_others_at_work_are_left_out(self):
        self.assertEqual(self.settled(sample("a", 1, foreign=0.9), sample("a", 5)), Settled(5))

    def test_without_a_quiet_round_the_figure_is_marked(self):
        settled = self.settled(sample("a", 4, foreign=0.9))
        self.assertEqual((settled.value, str(settled)), (4, "~4"))

    def test_one_failure_is_not_averaged_away(self):
        settled = self.settled(sample("a", 4), Sample("a", "read", failure="over 60 s"))
        self.assertEqual(str(settled), "fails: over 60 s")

    def test_what_was_not_measured_is_a_dash(self):
        self.assertEqual(str(self.settled()), "–")


class Ratios(unittest.TestCase):
    def test_the_best_other_depends_on_the_direction(self):
        others = [Settled(10), Settled(40), Settled(None)]
        self.assertEqual(ratio(Settled(20), others, Better.HIGHER), 0.5)
        self.assertEqual(ratio(Settled(20), others, Better.LOWER), 2)

    def test_nothing_is_compared_with_nothing(self):
        self.assertIsNone(ratio(Settled(20), [Settled(None)], Better.HIGHER))
        self.assertIsNone(ratio(Settled(None), [Settled(20)], Better.HIGHER))
        self.assertEqual(judged(None, Better.HIGHER), "–")

    def test_where_ours_is_worse_the_table_says_so(self):
        self.assertEqual(judged(0.5, Better.HIGHER), "0.5× ↑ **behind**")
        self.assertEqual(judged(0.5, Better.LOWER), "0.5× ↓")
        self.assertEqual(judged(2, Better.HIGHER), "2× ↑")
        self.assertEqual(judged(2, Better.LOWER), "2× ↓ **behind**")


class Tables(unittest.TestCase):
    def test_a_row_has_every_client_and_the_ratio_to_the_best_other(self):
        samples = [sample("s3xmount", 900), sample("s3fs", 450), sample("rclone", 300), sample("wire", 4321)]
        table = results([READ], ["s3xmount", "s3fs", "rclone", "wire"], samples)
        self.assertEqual(table[-1], "| Read | MB/s ↑ | 900 | 450 | 300 | 4,320 | 2× ↑ |")

    def test_the_wire_is_no_rival(self):
        samples = [sample("s3xmount", 900), sample("wire", 4321)]
        self.assertTrue(results([READ], ["s3xmount", "wire"], samples)[-1].endswith("| – |"))

    def test_costs_are_listed_for_clients_only(self):
        samples = [sample("s3xmount", 900, processor_s=1.25, peak_mb=60.4), sample("wire", 4321)]
        table = costs([READ], ["s3xmount", "wire"], samples)
        self.assertEqual(table[-1], "| Read | GiB | 1.25, 60 |")

    def test_the_legend_tells_of_others_at_work_only_if_there_were(self):
        self.assertEqual(len(legend([sample("a", 1)])), 1)
        self.assertIn("at worst 1.5 processors", legend([sample("a", 1, foreign=1.5)])[1])

    def test_three_digits_are_shown(self):
        self.assertEqual([shown(it) for it in (0.01234, 1.2, 12.34, 123.4, 12345)],
                         ["0.0123", "1.2", "12.3", "123", "12,300"])


if __name__ == "__main__":
    unittest.main()

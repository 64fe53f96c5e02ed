"""What does e-prop cost beside backpropagation through time: filtered, online, and how does its memory grow?

One step (forward, dW of every synapse, SGD) of the spiking network: 40 inputs that spike, 100 units of which half adapt, 2
leaky readouts that are asked at every step, batch 64, float32, one thread, the same net and trials for all:

    bptt      backpropagation through the whole trial
    eprop     `EProp`: the trial is played without a graph, then the learning signal is filtered backward in time
    rflo      `RFLO`: one trace a presynaptic unit, causal; on neurons that do not adapt it is e-prop
    online    `EPropOnline` in pieces of one step: an eligibility per synapse and lane, nothing kept of the past

Timed at T = 100, interleaved, in CPU seconds, since other work may run beside; the claims hold ratios of medians. e-prop's
two forms must give the same dW, which is claimed too.

Memory: each form and T in a process of its own, twice; the median. There the net and the batch are made and a step
is done on a batch of two steps, so that all code is loaded; then the peak of resident memory (VmHWM of /proc/self/status, set
back by writing 5 to /proc/self/clear_refs) during one step of the real batch, less the resident memory just before it. So the
batch itself, which all need and which grows with T, is not in it. Small allocations are kept out of the C library's arenas
(MALLOC_MMAP_THRESHOLD_) so that what is freed is given back at once. Linux only.

Expected: eprop at most 1.5 times bptt; online's memory does not grow from T = 100 to 1,000 (ratio at most 1.1), that of eprop
and bptt does. Online is slower: by how much is measured, not expected.

Found (figures/speed_eprop.json; times vary from run to run): eprop .75 times bptt, rflo .76, online 11 times bptt and 15 times
eprop. Beyond the batch online needs 14 MB at both lengths, bptt 25 and 355, eprop 30 and 294: filtered backward it needs no
graph, but hardly less memory, since a trial keeps every step's state and its records hold them a second time.
"""

import json
import os
import subprocess
import sys
import time
from statistics import median

import torch

from neurosim import figures
from neurosim.credit import Backprop
from neurosim.credit.broadcast import SymmetricBroadcast
from neurosim.networks import lsnn
from neurosim.neurons import Rate
from neurosim.plasticity import Batch, Gradient, Learner, Recipe
from neurosim.rules import RFLO, EProp, EPropOnline
from neurosim.study import main
from neurosim.tasks.sequences import Answers

SEEDS = 11  # repetitions of the timing
INPUTS, UNITS, OUTPUTS, LANES, RATE, TAU_OUT = 40, 100, 2, 64, 0.04, 20.0
T, LENGTHS, REPEATS = 100, (100, 1000), 2
LENGTHS_QUICK = (40, 120)  # measured in the study's own process
FORMS = ("bptt", "eprop", "rflo", "online")
METRIC = "ratio to BPTT"
SECONDS, PEAK, APART = "CPU seconds a step", "peak memory beyond the batch (MB)", "relative difference of dW"
COLOURS = {"bptt": "#000000", "eprop": "#0b4f9e", "rflo": "#7fb4f0", "online": "#e6550d"}


def given(steps, seed):
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(steps, LANES, INPUTS, generator=g) < RATE).to(torch.get_default_dtype())
    target = torch.randint(OUTPUTS, (LANES,), generator=g).expand(steps, LANES)
    return Batch(x, target, Answers(steps), time=True, dt=1.0)


def learner(form, seed):
    torch.manual_seed(seed)
    net = lsnn((INPUTS,), OUTPUTS, UNITS, tau_out=TAU_OUT)
    n, readout = net.hidden.neuron, RFLO(Rate(tau=TAU_OUT))
    rules, credit = {
        "bptt": ({"*": Gradient()}, Backprop()),
        "eprop": ({"hidden.*": EProp(n, TAU_OUT), "*": readout}, SymmetricBroadcast()),
        "rflo": ({"hidden.*": RFLO(n), "*": readout}, SymmetricBroadcast()),
        "online": ({"hidden.*": EPropOnline(n, TAU_OUT, forget=True), "*": readout}, SymmetricBroadcast(steps=1)),
    }[form]
    return Learner(net, Recipe(form, rules, credit, lr=0.0), given(2, 0), seed)


# ---------------------------------------------------------------------------------------------- time
def timed(mode, steps):
    """Each form's step on the same batch, in turns, the order rotating; the first round warms up."""
    learners, rows = {form: learner(form, 0) for form in FORMS}, []
    for repeat in range(-1, mode.seeds):
        batch, dw = given(steps, repeat + 1), {}
        for k in range(len(FORMS)):
            form = FORMS[(k + repeat) % len(FORMS)]
            start = time.process_time()
            dw[form] = learners[form].step(batch)
            seconds = time.process_time() - start
            if repeat >= 0:
                rows.append({"recipe": form, "seed": repeat, "quantity": SECONDS, "value": seconds, "steps": steps})
        apart = max(((dw["eprop"][n] - d).norm() / d.norm()).item() for n, d in dw["online"].items())
        if repeat >= 0:
            rows.append({"recipe": "both", "seed": repeat, "quantity": APART, "value": apart, "steps": steps})
    return rows


# ---------------------------------------------------------------------------------------------- memory
def status(name):
    """VmRSS or VmHWM of this process, MB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


def peak(form, steps):
    """The most resident memory during one step of a trial of so many steps, less what there was before it (MB)."""
    torch.set_num_threads(1)
    L, batch = learner(form, 0), given(steps, 1)
    L.step(given(2, 0))
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    L.step(batch)
    return status("VmHWM") - before


def peaks(wanted):
    return [peak(form, steps) for form, steps in wanted]


def peaks_apart(wanted):
    """The peaks of these (form, steps), one after the other in a process of their own."""
    program = f"import json; from studies.speed_eprop import peaks; print(json.dumps(peaks({wanted!r})))"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run(mode):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps = LENGTHS_QUICK[0] if mode.quick else T
    rows = timed(mode, steps)
    torch.set_num_threads(threads)
    lengths, repeats = (LENGTHS_QUICK, 1) if mode.quick else (LENGTHS, REPEATS)
    cells, measure = [(form, n) for n in lengths for form in FORMS], peaks if mode.quick else peaks_apart
    for repeat in range(repeats):
        for wanted in [cells] if mode.quick else [[cell] for cell in cells]:
            for (form, n), mb in zip(wanted, measure(wanted), strict=True):
                rows.append({"recipe": form, "seed": repeat, "quantity": PEAK, "value": mb, "steps": n})
    return rows, claims_of(rows)


# ---------------------------------------------------------------------------------------------- what is claimed
def of(rows, form, quantity, steps=None):
    key = (form, quantity)
    return [r["value"] for r in rows if (r["recipe"], r["quantity"]) == key and steps in (None, r["steps"])]


def lengths_of(rows):
    return sorted({r["steps"] for r in rows if r["quantity"] == PEAK})


def ratio(rows, form, to="bptt"):
    return median(of(rows, form, SECONDS)) / median(of(rows, to, SECONDS))


def growth(rows, form):
    first, last = (median(of(rows, form, PEAK, n)) for n in (lengths_of(rows)[0], lengths_of(rows)[-1]))
    return last / first


def claims_of(rows):
    first, last = lengths_of(rows)[0], lengths_of(rows)[-1]
    source = "project target"
    both = max(of(rows, "both", APART))
    claims = [
        figures.claim("eprop / bptt, seconds: ratio of medians", round(ratio(rows, "eprop"), 3), "<=", 1.5, 0, source),
        figures.claim(
            "online / eprop, seconds: slower", round(ratio(rows, "online", "eprop"), 2), ">=", 1, 0, "measured"
        ),
        figures.claim("online, peak memory: last / first T", round(growth(rows, "online"), 3), "<=", 1.1, 0, source),
        figures.claim("eprop's and online's dW: largest difference", both, "<=", 1e-4, 0, "the same sum, in float32"),
    ]
    least = 0.5 * last / first
    text = "eprop, peak memory: last / first T, at least half as much as T grows"
    claims.append(figures.claim(text, round(growth(rows, "eprop"), 2), ">=", round(least, 2), 0, "kept activity"))
    return claims


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows, manifest):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(figures.STYLE):
        fig = Figure(figsize=(10, 3.9), layout="constrained")
        speed, memory = fig.subplots(1, 2)
        for k, form in enumerate(FORMS):
            ms = [1000 * s for s in of(rows, form, SECONDS)]
            if not ms:
                continue
            speed.plot(ms, [k] * len(ms), ".", color=COLOURS[form], alpha=0.4)
            speed.plot([min(ms), max(ms)], [k, k], color=COLOURS[form], linewidth=1)
            speed.plot(median(ms), k, "o", color=COLOURS[form])
            text = f"{median(ms):,.0f} ms ({min(ms):,.0f} to {max(ms):,.0f})\n{ratio(rows, form):.2f} x bptt"
            speed.annotate(text, (1.01, k), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        bound = 1500 * median(of(rows, "bptt", SECONDS))
        speed.plot([bound] * 2, [0.6, 1.4], color="#c00000", linewidth=1.5)
        speed.annotate("1.5 x bptt", (bound, 0.6), (2, 2), textcoords="offset points", color="#c00000", fontsize=8)
        ticks = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
        speed.set(xscale="log", yticks=range(len(FORMS)), yticklabels=FORMS, ylim=(len(FORMS) - 0.5, -0.5))
        low, high = speed.get_xlim()
        speed.set_xticks([t for t in ticks if low < t < high], [f"{t:,}" for t in ticks if low < t < high])
        speed.set_xticks([], minor=True)
        speed.set_xlabel("CPU time of one step (ms)\nlarge: median; small: repetitions; line: range; red: target")
        steps = max(r["steps"] for r in rows if r["quantity"] == SECONDS)
        speed.set_title(f"A  Time, T = {steps}")
        lengths = lengths_of(rows)
        for form in FORMS:
            found = [of(rows, form, PEAK, n) for n in lengths]
            if found[0]:
                memory.plot(lengths, [median(f) for f in found], "o-", color=COLOURS[form], label=form)
                for n, f in zip(lengths, found, strict=True):
                    memory.plot([n] * len(f), f, ".", color=COLOURS[form], alpha=0.4)
        memory.set(xscale="log", yscale="log", xlabel="steps of the trial, T")
        memory.set_ylabel("peak memory of a step,\nbeyond net and batch (MB)")
        low, high = memory.get_ylim()
        memory.set_yticks([t for t in ticks if low < t < high], [f"{t:,}" for t in ticks if low < t < high])
        memory.set_yticks([], minor=True)
        memory.set_xticks(lengths, [f"{n:,}" for n in lengths])
        memory.set_xticks([], minor=True)
        memory.set_title("B  Memory")
        memory.legend(loc="upper left")
        fig.supxlabel(f"Spiking network, {UNITS} units, half adapt, batch {LANES}, float32, one thread.", fontsize=8)
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))

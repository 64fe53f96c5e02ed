"""How fast is the event-driven engine, beside Brian2's C++ standalone mode?

    python studies/speed_network.py [--peer-python PATH]     PATH: a Python with Brian2 (default: this one)

The network: N leaky integrate-and-fire neurons, 80 % excitatory, current synapses of 5 and 10 ms, fan-in 80 (64 and 16), delay
0.1 ms, dt 0.1 ms (after Vogels & Abbott 2005, as in the Brian2 paper's CUBA), minimal triplet STDP on E to E at every spike,
within bounds. The same wiring, first potentials and weights on both sides, so about 5 Hz on both. Brian2 keeps the traces in
the neurons (r1, o1, o2 as variables of a neuron), its fastest form; its time is the smaller of what its program reports of the
run alone and of the program's CPU seconds. Ours is `net.run` in CPU seconds, one thread. Runs take turns; the ratio is that of
medians.

Build + run counts all from the first line after the imports: ours making the network, compiling it (or finding it compiled)
and the run; Brian2's generating code, compiling it and the run, anew each time, as it does whatever changes.

Dense: 784 Poisson inputs with Fashion-MNIST intensities (30 Hz on average) onto 400 neurons that inhibit each other, pair STDP
at every spike, dt 1 ms; a presentation is 250 ms, with its encoding (new rates) and the rows' normalisation after it.

Found (figures/speed_network.json): see the claims there; Brian2 needs a compiler and a minute, ours neither.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import neurosim as ns
from neurosim import figures
from neurosim.rules.stdp import pair, triplet
from neurosim.study import main

SEEDS = 4  # repetitions
N, FAN_IN, DT, SECONDS = 4000, (64, 16), 0.1, 10.0
SIZES = (1000, 4000, 16000, 64000)
W_E, W_I, W_MAX, A3_PLUS, A2_MINUS = 1.62, -9.0, 3.24, 6.5e-5, 7.1e-5
METRIC = "CPU seconds"
FLOAT32, FLOAT64 = "ours, float32", "ours, float64"
BRIAN, BRIAN32 = "Brian2, float64", "Brian2, float32"
BARS = ((FLOAT32, BRIAN, 7.0), (FLOAT64, BRIAN, 5.0))
FIRST, LATER, PEER_BUILD = "ours, first use", "ours, later use", "Brian2"
PRESENTATIONS, INPUTS, NEURONS = 60, 784, 400
PEER_PYTHON = ""  # from the command line

peer_program = """
import json, resource, sys, time
import numpy as np
from brian2 import *
start = time.perf_counter()
path, number, folder, seconds, monitor = sys.argv[1:6]
prefs.core.default_float_dtype = {"float32": float32, "float64": float64}[number]
wires = np.load(path)
set_device("cpp_standalone", build_on_run=False)
defaultclock.dt = 0.1*ms
tau_m, tau_E, tau_I, tau_plus, tau_minus, tau_y = 20*ms, 5*ms, 10*ms, 16.8*ms, 33.7*ms, 114*ms
v_rest, w_max, A3_plus, A2_minus = -49.0, float(wires["w_max"]), float(wires["A3_plus"]), float(wires["A2_minus"])
n, n_e = len(wires["v"]), int(wires["n_e"])
cells = NeuronGroup(n, '''dv/dt = (v_rest - v + g_E + g_I)/tau_m : 1 (unless refractory)
dg_E/dt = -g_E/tau_E : 1
dg_I/dt = -g_I/tau_I : 1
dr1/dt = -r1/tau_plus : 1
do1/dt = -o1/tau_minus : 1
do2/dt = -o2/tau_y : 1''', threshold="v > -50", reset="v = -60; r1 += 1; o1 += 1; o2 += 1", refractory=5*ms, method="exact")
cells.v = wires["v"]
E, I = cells[:n_e], cells[n_e:]
plastic = Synapses(E, E, "w : 1", on_pre="g_E_post += w; w = clip(w - A2_minus*o1_post, 0, w_max)",
                   on_post="w = clip(w + A3_plus*r1_pre*o2_post, 0, w_max)", delay={"pre": 0.1*ms})
plastic.connect(i=wires["ee_i"], j=wires["ee_j"])
plastic.w = float(wires["w_e"])
onto = Synapses(E, I, on_pre="g_E_post += %r" % float(wires["w_e"]), delay=0.1*ms)
onto.connect(i=wires["ei_i"], j=wires["ei_j"])
back = Synapses(I, cells, on_pre="g_I_post += %r" % float(wires["w_i"]), delay=0.1*ms)
back.connect(i=wires["i_i"], j=wires["i_j"])
spikes = SpikeMonitor(cells, record=False)
run(float(seconds)*second)
device.build(directory=folder, compile=True, run=False)
print("built", flush=True)
for line in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    device.run(with_output=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"run": min(spent, device._last_run_time), "since start": time.perf_counter() - start,
                      "spikes": int(spikes.num_spikes), "weight": float(np.mean(plastic.w[:]))}), flush=True)
"""

our_program = """
import json, sys, time
import numpy as np, scipy.sparse, numba, torch
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
from studies.speed_network import network
net, *_ = network(4000, np.float32)
net.run(1000 * float(sys.argv[2]))
print(time.perf_counter() - start)
"""


def network(n, dtype, seed=1):
    """(net, exc, inh, plastic projection), and the first potentials."""
    net = ns.Network(dt=DT, seed=seed, dtype=dtype)
    cell = ns.LIF(tau_m=20, v_rest=-49, v_threshold=-50, v_reset=-60, refractory=5)
    v = net.generator.uniform(-60, -50, n)
    exc, inh = net.add(4 * n // 5, cell, v=v[: 4 * n // 5]), net.add(n // 5, cell, v=v[4 * n // 5 :])
    rule = triplet(A3_plus=A3_PLUS, A2_minus=A2_MINUS)
    ee = net.connect(exc, exc, fan_in=FAN_IN[0], weight=W_E, tau_syn=5, rule=rule, w_max=W_MAX)
    net.connect(exc, inh, fan_in=FAN_IN[0], weight=W_E, tau_syn=5)
    for post in (exc, inh):
        net.connect(inh, post, fan_in=FAN_IN[1], weight=W_I, tau_syn=10)
    return net, exc, inh, ee, v


class Peer:
    """Brian2's program of the same network, built in a process of its own; `run` lets it run once."""

    def __init__(self, n, number, seconds, folder):
        net, exc, _, ee, v = network(n, np.float64)
        ei, ie, ii = net.projections[1:]
        wires = {"v": v, "n_e": exc.n, "w_e": W_E, "w_i": W_I, "w_max": W_MAX, "A3_plus": A3_PLUS, "A2_minus": A2_MINUS}
        wires |= {"ee_i": ee.pre_index, "ee_j": ee.post_index, "ei_i": ei.pre_index, "ei_j": ei.post_index}
        wires["i_i"] = np.concatenate([ie.pre_index, ii.pre_index])
        wires["i_j"] = np.concatenate([ie.post_index, ii.post_index + exc.n])
        np.savez(folder / "wires.npz", **wires)
        arguments = [str(folder / "wires.npz"), number, str(folder / "code"), str(seconds), ""]
        self.process = subprocess.Popen(
            [PEER_PYTHON or sys.executable, "-c", peer_program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        if self.line().strip() != "built":
            raise ValueError(
                f"--peer-python: given {PEER_PYTHON or sys.executable}, it cannot build a Brian2 standalone"
            )

    def line(self):
        """Brian2 prints lines of its own."""
        while line := self.process.stdout.readline():
            if line.startswith(("built", "{")):
                return line
        return ""

    def run(self):
        print("run", file=self.process.stdin, flush=True)
        return json.loads(self.line())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(net, seconds):
    start = time.process_time()
    rec = net.run(1000 * seconds)
    return time.process_time() - start, rec


def run(mode):
    rows, seconds, repeats = [], 1.0 if mode.quick else SECONDS, 2 if mode.quick else mode.seeds
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        rows += cuba(place, seconds, repeats)
        rows += builds(place, seconds, 1 if mode.quick else 2)
        rows += growth(place, SIZES[:2] if mode.quick else SIZES, 0.2 if mode.quick else 1.0, mode.quick)
    rows += memory()
    rows += dense(10 if mode.quick else PRESENTATIONS, repeats)
    return rows, claims_of(rows)


def row(part, recipe, quantity, value, seed=0, size=N):
    return {"layer": part, "recipe": recipe, "quantity": quantity, "value": value, "seed": seed, "size": size}


def cuba(place, seconds, repeats):
    """The same network on all sides, in turns."""
    rows, peers = [], {}
    for name, number in ((BRIAN, "float64"), (BRIAN32, "float32")):
        (place / number).mkdir()
        peers[name] = Peer(N, number, seconds, place / number)
        found = peers[name].run()
        rows.append(row("build", PEER_BUILD if name == BRIAN else BRIAN32, "s, build + run", found["since start"]))
    for dtype in (np.float32, np.float64):
        network(N, dtype)[0].run(10)  # compiles
    for k in range(repeats):
        for name, peer in peers.items():
            found = peer.run()
            rows.append(row("cuba", name, METRIC, found["run"], k))
            rows.append(row("cuba", name, "rate (Hz)", found["spikes"] / N / seconds, k))
            rows.append(row("cuba", name, "mean weight", found["weight"], k))
        for name, dtype in ((FLOAT32, np.float32), (FLOAT64, np.float64)):
            net, *_, ee, _ = network(N, dtype)
            net.made()
            spent, rec = timed(net, seconds)
            rows.append(row("cuba", name, METRIC, spent, k))
            rows.append(row("cuba", name, "rate (Hz)", float(rec.totals.sum()) / N / seconds, k))
            rows.append(row("cuba", name, "mean weight", float(ee.w.mean()), k))
    for peer in peers.values():
        peer.close()
    return rows


def builds(place, seconds, repeats):
    """Ours in fresh processes: the first with an empty cache, then with it."""
    rows = []
    for k in range(repeats):
        cache = place / f"cache {k}"
        for name in (FIRST, LATER):
            done = subprocess.run(
                [sys.executable, "-c", our_program, str(Path(__file__).parents[1]), str(seconds)], check=True, text=True,
                capture_output=True, env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            rows.append(row("build", name, "s, build + run", float(done.stdout), k))
    return rows


def growth(place, sizes, seconds, quick):
    """ns for each synaptic event: a spike that is sent, or a weight that a post spike changes."""
    rows = []
    for n in sizes:
        net, exc, inh, *_ = network(n, np.float32)
        net.run(200)
        spent, rec = timed(net, seconds * 4)
        rows.append(row("growth", FLOAT32, "ns per event", 1e9 * spent / events(rec.totals, 1.0), size=n))
        if quick or n not in (sizes[0], sizes[-1]):
            continue
        folder = place / str(n)
        folder.mkdir()
        peer = Peer(n, "float64", seconds, folder)
        found = peer.run()
        peer.close()
        share = found["spikes"] / n  # rates of both kinds are alike
        rows.append(
            row("growth", BRIAN, "ns per event", 1e9 * found["run"] / events((n * 4 / 5, n / 5), share), size=n)
        )
    return rows


def events(spikes, each):
    """Spikes of E and I: each leads to 80 synapses; one of E changes 64 incoming ones, too."""
    return each * (spikes[0] * (sum(FAN_IN) + FAN_IN[0]) + spikes[1] * sum(FAN_IN))


def memory():
    """Bytes that one more plastic synapse takes."""

    def size(fan_in):
        net = ns.Network(dtype=np.float32)
        exc = net.add(2000, ns.LIF())
        net.connect(exc, exc, fan_in=fan_in, weight=1.0, tau_syn=5, rule=triplet(), w_max=2.0)
        return sum(a.nbytes for part in net.made() if isinstance(part, tuple) for a in part)

    return [row("memory", FLOAT32, "bytes per plastic synapse", (size(300) - size(100)) / (200 * 2000))]


def images(number):
    """[number, 784] Hz: Fashion-MNIST's test images, each 30 Hz on average; made-up ones where it is not there."""
    try:
        from neurosim.tasks.images import fashion

        x = fashion().test(0).x[:number].flatten(1).numpy().astype(float)
    except (OSError, ValueError, AttributeError):
        x = np.random.default_rng(0).random((number, INPUTS)) ** 3
    x = x - x.min(1, keepdims=True)
    return 30.0 * x / x.mean(1, keepdims=True)


def dense_network():
    net = ns.Network(dt=1.0, seed=1, dtype=np.float32)
    inputs = net.add(INPUTS, ns.Poisson())
    cells = net.add(NEURONS, ns.LIF(tau_m=20, v_rest=-65, v_threshold=-50, v_reset=-65, refractory=5))
    q = net.connect(
        inputs, cells, weight=lambda g, n: g.uniform(0, 0.4, n), tau_syn=5, rule=pair(2e-3, 2e-3), w_max=1.0
    )
    net.connect(cells, cells, weight=-15.0, tau_syn=5)
    q.scale_rows(150.0)
    return net, inputs, cells, q


def dense(number, repeats):
    rates = images(number)
    net, inputs, cells, q = dense_network()
    net.run(10)
    rows = []
    for k in range(repeats):
        start, spikes = time.process_time(), 0
        for x in rates:
            inputs.drive = x
            spikes += net.run(250).totals[cells.index]
            q.scale_rows(150.0)
        spent = time.process_time() - start
        rows.append(row("dense", FLOAT32, "presentations per CPU second", number / spent, k))
        rows.append(row("dense", FLOAT32, "spikes a presentation", float(spikes) / number, k))
    return rows


def values(rows, part, recipe, quantity):
    return [r["value"] for r in rows if (r["layer"], r["recipe"], r["quantity"]) == (part, recipe, quantity)]


def ratio(rows, part, ours, theirs, quantity):
    return round(median(values(rows, part, theirs, quantity)) / median(values(rows, part, ours, quantity)), 2)


def claims_of(rows):
    target, claim, found = "project target", figures.claim, []
    for ours, theirs, bound in BARS:
        got = ratio(rows, "cuba", ours, theirs, METRIC)
        found.append(claim(f"run: {theirs} / {ours}", got, ">=", bound, source=target))
    for name, bound in ((FIRST, 10.0), (LATER, 30.0)):
        got = ratio(rows, "build", name, PEER_BUILD, "s, build + run")
        found.append(claim(f"build + run: Brian2 / {name}", got, ">=", bound, source=target))
    rate, weight = (
        abs(median(values(rows, "cuba", FLOAT64, q)) / median(values(rows, "cuba", BRIAN, q)) - 1)
        for q in ("rate (Hz)", "mean weight")
    )
    found.append(claim("rates apart, relative", rate, "<=", 0.05, source="the same network"))
    found.append(claim("mean weights apart, relative", weight, "<=", 0.01, source="the same network"))
    ours, theirs = (values(rows, "growth", name, "ns per event") for name in (FLOAT32, BRIAN))
    found.append(claim("cost per event, largest / smallest network", max(ours) / ours[0], "<=", 3.0, source=target))
    if theirs:
        grown = theirs[-1] / theirs[0]
        found.append(
            claim("its growth, against Brian2's", ours[-1] / ours[0], "<=", grown, source="Brian2, same sizes")
        )
    got = values(rows, "memory", FLOAT32, "bytes per plastic synapse")[0]
    found.append(claim("bytes per plastic synapse", got, "<=", 20.0, source=target))
    got = median(values(rows, "dense", FLOAT32, "presentations per CPU second"))
    found.append(claim("dense: presentations per CPU second", got, ">=", 300.0, source=target))
    got = median(values(rows, "dense", FLOAT32, "spikes a presentation"))
    return [*found, claim("dense: it spikes", got, ">=", 3.0, source="a presentation without spikes teaches nothing")]


def draw(rows, manifest):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(figures.STYLE):
        fig = Figure(figsize=(10.5, 3.8), layout="constrained")
        run_, build, grow = fig.subplots(1, 3)
        for ax, part, quantity, names, title in (
            (run_, "cuba", METRIC, (BRIAN, BRIAN32, FLOAT64, FLOAT32), "A  Run"),
            (build, "build", "s, build + run", (PEER_BUILD, FIRST, LATER), "B  Build and run"),
        ):
            for k, name in enumerate(names):
                each, colour = values(rows, part, name, quantity), "#b8c4d4" if name.startswith("Brian2") else "#2171b5"
                ax.barh(k, median(each), color=colour, height=0.6)
                ax.plot(each, [k] * len(each), ".", color="#333333", markersize=4)
                ax.annotate(f" {median(each):.2f} s", (max(each), k), va="center", fontsize=8)
            ax.set_yticks(range(len(names)), names)
            ax.invert_yaxis()
            ax.set_xlim(0, 1.3 * max(max(values(rows, part, n, quantity)) for n in names))
            ax.set_xlabel("s (bar: median; dots: repetitions)")
            ax.set_title(title)
            ax.grid(axis="y", visible=False)
        for bound, k in ((5.0, 2), (7.0, 3)):
            at = median(values(rows, "cuba", BRIAN, METRIC)) / bound
            run_.plot([at, at], [k - 0.4, k + 0.4], color="#c00000", linewidth=1.5)
        for bound, k in ((10.0, 1), (30.0, 2)):
            at = median(values(rows, "build", PEER_BUILD, "s, build + run")) / bound
            build.plot([at, at], [k - 0.4, k + 0.4], color="#c00000", linewidth=1.5)
        for name, colour, marker in ((FLOAT32, "#2171b5", "o"), (BRIAN, "#8a97a8", "s")):
            own = [r for r in rows if r["layer"] == "growth" and r["recipe"] == name]
            if own:
                grow.plot([r["size"] for r in own], [r["value"] for r in own], color=colour, marker=marker, label=name)
        grow.set(xscale="log", yscale="log", xlabel="neurons, fan-in 80", ylabel="ns per synaptic event")
        grow.set_title("C  Cost of an event")
        grow.legend(fontsize=8)
        presented = median(values(rows, "dense", FLOAT32, "presentations per CPU second"))
        fig.supxlabel(
            f"A, B: {N:,} neurons, triplet STDP on E to E, dt 0.1 ms; red: target. "
            f"Dense 784 to 400, pair STDP, dt 1 ms: {presented:.0f} presentations of 250 ms per s (target 300).", fontsize=8,
        )  # fmt: skip
    return fig


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--peer-python" in arguments[:-1]:
        at = arguments.index("--peer-python")
        PEER_PYTHON = arguments[at + 1]
        del arguments[at : at + 2]
    raise SystemExit(main(run, draw, arguments))

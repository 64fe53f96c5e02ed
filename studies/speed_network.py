"""How fast is the event-driven engine, beside Brian2's C++ standalone mode?

    python studies/speed_network.py [--peer-python PATH]     PATH: a Python with Brian2 and a C++ compiler (default: this one)

The network: N leaky integrate-and-fire neurons, 80 % excitatory, current synapses of 5 and 10 ms, fan-in 80 (64 and 16), delay
0.1 ms, dt 0.1 ms (after Vogels & Abbott 2005, as in the Brian2 paper's CUBA), minimal triplet STDP on E to E at every spike,
within bounds. The same wiring, first potentials and weights on both sides, so about 5 Hz on both, and the mean weight changes
by as much, which is claimed. Brian2 keeps the traces in the neurons (r1, o1, o2 as variables of a neuron), its fastest form;
its time is the smaller of what its program reports of the run alone and of the program's CPU seconds. Ours is `net.run` in
CPU seconds, one thread. Runs take turns; the ratio is that of medians. So is the cost of an event, from 1,000 to 64,000
neurons for the same biological time on both sides, nothing subtracted: a spike has 80 synapses (on average), and one of E
changes 64 incoming ones as well. The claim against Brian2's growth is made twice: from the smallest network, where what a step
costs anyhow is shared by few events, and from the size at which an event is cheapest.

Build + run is the time on the clock, for a user's program in a fresh process, from the line after `import numpy, scipy, torch,
numba` or `import brian2`: ours imports neurosim (Python's own compiled files are there, as pip leaves them), makes the network,
compiles (or finds compiled) the loop and runs; Brian2 generates code, compiles and runs, in an empty folder each time;
"unchanged" is Brian2's second time in the same folder. The clock is the user's measure, but suffers from other work on the
machine; CPU seconds are in the CSV too (Brian2's compile uses all cores), and so are our stages.

Memory: of all arrays that a network holds, and as growth of the resident memory of a process, from fan-in 100 to 800.

Dense: 784 Poisson inputs with Fashion-MNIST intensities (30 Hz on average in each image) onto 400 neurons that inhibit each
other, pair STDP at every spike, dt 1 ms, float32; a presentation is 250 ms, with its encoding (intensities to rates) before
and the rows' normalisation after it.

Found (figures/speed_network.json): a run is 8.4 and 6.2 times as fast (float32, float64), build + run 38 times in later uses.
THREE CLAIMS FAIL. Build + run in the first use is 3.5 times as fast, not 10: numba takes 4.4 s, half of it in its own types and
code before LLVM, where Brian2 and the C++ compiler take 14. And the cost of an event grows by 1.3 (from 1,000 neurons) and 1.6
(from 16,000) up to 64,000, Brian2's by 1.04 and 1.15 here, by 1.56 and 1.74 in a run an hour before: with 50 MB of weights and
lists, which no longer fit the caches, a post spike reaches into 64 lines of memory. Ours grows by 2 to 3 ns, Brian2's 2 to 8.
"""

import compileall
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from statistics import median

import numpy as np

import neurosim as ns
from neurosim import figures
from neurosim.peers import peer_python
from neurosim.rules.stdp import pair, triplet
from neurosim.study import main
from neurosim.tasks.images import fashion

SEEDS = 5  # repetitions
BUILDS = 3  # repetitions of building
N, FAN_IN, DT, SECONDS = 4000, (64, 16), 0.1, 10.0
GROWTH = ((1000, 20.0), (4000, 10.0), (16000, 4.0), (64000, 1.0))  # neurons, biological seconds
W_E, W_I, W_MAX, A3_PLUS, A2_MINUS = 1.62, -9.0, 3.24, 6.5e-4, 7.1e-4
METRIC = "CPU seconds"
FLOAT32, FLOAT64 = "ours, float32", "ours, float64"
BRIAN, BRIAN32 = "Brian2, float64", "Brian2, float32"
BARS = ((FLOAT32, BRIAN, 7.0), (FLOAT64, BRIAN, 5.0))
FIRST, LATER, PEER_BUILD, PEER_AGAIN = "ours, first use", "ours, later use", "Brian2", "Brian2, unchanged"
CLOCK, PER_EVENT = "s, build + run", "ns per event"
HELD, RESIDENT = "bytes per plastic synapse: arrays held", "bytes per plastic synapse: resident memory"
PRESENTATIONS, INPUTS, NEURONS, ROW_SUM, LATERAL = 300, 784, 400, 110.0, -60.0
PRESENTED, STAGES = "presentations per CPU second", ("encoding", "run", "normalisation")
PEER_PYTHON = ""  # from the command line

peer_program = """
import json, resource, sys, time
import numpy as np
from brian2 import *
start, cpu = time.perf_counter(), time.process_time()
path, number, folder, seconds = sys.argv[1:5]
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
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    count = spikes.count[:]
    print(json.dumps({"run": min(spent, device._last_run_time), "clock": clock,
                      "CPU": time.process_time() - cpu + after.ru_utime + after.ru_stime,
                      "spikes": [int(count[:n_e].sum()), int(count[n_e:].sum())],
                      "change": float(np.mean(plastic.w[:])) - float(wires["w_e"])}), flush=True)
"""

our_program = """
import json, sys, time
import numpy as np, scipy.sparse, numba, torch
marks, cpu = [time.perf_counter()], time.process_time()
import neurosim as ns
from neurosim.rules.stdp import triplet
ns.Network
marks.append(time.perf_counter())
{constants}
{network}
net, *_ = network({n}, np.float32)
marks.append(time.perf_counter())
net.run(DT)
marks.append(time.perf_counter())
net.run({duration})
marks.append(time.perf_counter())
print(json.dumps([marks, time.process_time() - cpu]))
"""
our_stages = ("import neurosim", "make", "compile or load", "run")

memory_program = """
import gc, numpy as np, neurosim as ns
from pathlib import Path
from neurosim.rules.stdp import triplet
{plastic}
net = plastic({fan_in})
gc.collect()
print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
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
        folder.mkdir(exist_ok=True)
        np.savez(folder / "wires.npz", **wires)
        self.messages = folder / "messages"
        command = [PEER_PYTHON or sys.executable, "-c", peer_program, str(folder / "wires.npz"), number]
        with open(self.messages, "w") as messages:
            self.process = subprocess.Popen(
                [*command, str(folder / "code"), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=messages, text=True,
            )  # fmt: skip
        self.line()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def line(self):
        """Its next answer; Brian2 prints lines of its own."""
        while line := self.process.stdout.readline():
            if line.startswith(("built", "{")):
                return line
        said = self.messages.read_text().strip().rpartition("\n")[2]
        self.__exit__()
        raise ValueError(
            f"--peer-python: given {PEER_PYTHON or sys.executable}, it must build and run a Brian2 standalone, but: {said}"
        )

    def run(self):
        print("run", file=self.process.stdin, flush=True)
        return json.loads(self.line())


def timed(net, seconds):
    start = time.process_time()
    rec = net.run(1000 * seconds)
    return time.process_time() - start, rec


def run(mode):
    seconds, repeats, quick = (4.0 if mode.quick else SECONDS), mode.seeds, mode.quick
    rates = images(10 if quick else PRESENTATIONS, mode.data)  # first, since they may be missing
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        rows = cuba(place, seconds, repeats, (BRIAN,) if quick else (BRIAN, BRIAN32))
        rows += builds(place, seconds, 1 if quick else BUILDS)
        rows += growth(place, [(n, 0.5) for n, _ in GROWTH[:2]] if quick else GROWTH, 1 if quick else 3, not quick)
    rows += memory() + dense(rates, repeats)
    return rows, claims_of(rows)


def row(part, recipe, quantity, value, seed=0, size=N):
    return {"layer": part, "recipe": recipe, "quantity": quantity, "value": value, "seed": seed, "size": size}


def cuba(place, seconds, repeats, names):
    """The same network on all sides, in turns."""

    def found(name, k, spent, spikes, change):
        got = ((METRIC, spent), ("rate (Hz)", sum(spikes) / N / seconds), ("change of the mean weight", change))
        return [row("cuba", name, quantity, float(value), k) for quantity, value in got]

    rows = []
    with ExitStack() as open_peers:
        peers = {n: open_peers.enter_context(Peer(N, n.split()[-1], seconds, place / n)) for n in names}
        for dtype in (np.float32, np.float64):
            network(N, dtype)[0].run(10)  # compiles
        for k in range(repeats):
            for name, peer in peers.items():
                got = peer.run()
                rows += found(name, k, got["run"], got["spikes"], got["change"])
            for name, dtype in ((FLOAT32, np.float32), (FLOAT64, np.float64)):
                net, *_, ee, _ = network(N, dtype)
                net.made()
                spent, rec = timed(net, seconds)
                rows += found(name, k, spent, rec.totals, ee.w.mean(dtype=np.float64) - W_E)
    return rows


def user_program(n, seconds):
    """The program of a user, who has no study."""
    names = ("DT", "FAN_IN", "W_E", "W_I", "W_MAX", "A3_PLUS", "A2_MINUS")
    constants = "\n".join(f"{name} = {globals()[name]!r}" for name in names)
    return our_program.format(constants=constants, network=inspect.getsource(network), n=n, duration=1000 * seconds)


def fresh(program, **environment):
    """What a program prints that runs in a process of its own."""
    return json.loads(
        subprocess.run(
            [sys.executable, "-c", program], check=True, text=True, stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        ).stdout
    )  # fmt: skip


def builds(place, seconds, repeats):
    """All in fresh processes: Brian2 in an empty folder and in the same again; ours with an empty cache, then with it."""
    compileall.compile_dir(Path(ns.__file__).parent, quiet=1)  # as pip does when it installs a package
    rows = []
    for k in range(repeats):
        for name in (PEER_BUILD, PEER_AGAIN):
            with Peer(N, "float64", seconds, place / f"build {k}") as peer:
                got = peer.run()
            rows += [row("build", name, CLOCK, got["clock"], k), row("build", name, METRIC, got["CPU"], k)]
        for name in (FIRST, LATER):
            marks, spent = fresh(user_program(N, seconds), NUMBA_CACHE_DIR=str(place / f"cache {k}"))
            rows += [row("build", name, CLOCK, marks[-1] - marks[0], k), row("build", name, METRIC, spent, k)]
            rows += [row("build", name, f"s, {what}", b - a, k)
                     for what, a, b in zip(our_stages, marks[:-1], marks[1:], strict=True)]  # fmt: skip
    return rows


def growth(place, sizes, repeats, peers=True):
    """ns for each synaptic event: a spike that is sent, or a weight that a post spike changes."""
    rows = []
    for n, seconds in sizes:
        with Peer(n, "float64", seconds, place / f"growth {n}") if peers else nullcontext() as peer:
            network(n, np.float32)[0].run(1)  # compiles, if need be
            for k in range(repeats):
                if peer:
                    got = peer.run()
                    rows.append(row("growth", BRIAN, PER_EVENT, 1e9 * got["run"] / events(got["spikes"]), k, n))
                net = network(n, np.float32)[0]
                net.made()
                spent, rec = timed(net, seconds)
                rows.append(row("growth", FLOAT32, PER_EVENT, 1e9 * spent / events(rec.totals), k, n))
    return rows


def events(spikes):
    """Spikes of E and of I: each leads to 80 synapses on average; one of E changes 64 incoming ones, too."""
    return float(spikes[0] * (sum(FAN_IN) + FAN_IN[0]) + spikes[1] * sum(FAN_IN))


def plastic(fan_in):
    """4,000 neurons whose synapses are all plastic, with a step done."""
    net = ns.Network(dtype=np.float32)
    exc = net.add(4000, ns.LIF())
    net.connect(exc, exc, fan_in=fan_in, weight=1.0, tau_syn=5, rule=triplet(), w_max=2.0)
    net.run(1)
    return net


def array_bytes(x, seen=None):
    """Bytes of all arrays that x leads to, each once, whatever views there are of it."""
    seen = {} if seen is None else seen
    while isinstance(x, np.ndarray) and isinstance(x.base, np.ndarray):
        x = x.base
    if id(x) in seen:
        return 0
    seen[id(x)] = x  # kept, so that no other thing is given its id
    if isinstance(x, np.ndarray):
        return x.nbytes
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    own = vars(x).values() if hasattr(x, "__dict__") and type(x).__module__.startswith("neurosim") else ()
    return sum(array_bytes(part, seen) for part in (*parts, *own))


def memory():
    """Bytes that one more plastic synapse takes."""
    few, many = 100, 800
    more = 4000 * (many - few)
    held = (array_bytes(plastic(many)) - array_bytes(plastic(few))) / more
    rows = [row("memory", FLOAT32, HELD, held, size=4000)]
    if Path("/proc/self/statm").exists():
        program = inspect.getsource(plastic)
        each = [fresh(memory_program.format(plastic=program, fan_in=k), MALLOC_MMAP_THRESHOLD_="65536")
                for k in (few, many)]  # fmt: skip
        rows.append(row("memory", FLOAT32, RESIDENT, (each[1] - each[0]) / more, size=4000))
    return rows


def images(number, data=None):
    """[number, 784]: the first of Fashion-MNIST's test images, 0 to 255."""
    return fashion(data).test_x[:number].flatten(1).numpy()


def hertz(image):
    """Rates of the inputs: as the intensities, 30 Hz on average."""
    return image * (30.0 / image.mean())


def dense_network():
    net = ns.Network(dt=1.0, seed=1, dtype=np.float32)
    inputs = net.add(INPUTS, ns.Poisson())
    cells = net.add(NEURONS, ns.LIF(tau_m=20, v_rest=-65, v_threshold=-50, v_reset=-65, refractory=5))
    high = 2 * ROW_SUM / INPUTS
    q = net.connect(
        inputs, cells, weight=lambda g, n: g.uniform(0, high, n), tau_syn=5, rule=pair(2e-3, 2e-3), w_max=1.0
    )
    net.connect(cells, cells, weight=LATERAL, tau_syn=5)
    q.scale_rows(ROW_SUM)
    return net, inputs, cells, q


def dense(shown, repeats):
    net, inputs, cells, q = dense_network()
    net.run(10)
    clock, rows = time.process_time, []
    for k in range(repeats):
        spent, spikes = np.zeros(3), []
        start = clock()
        for image in shown:
            a = clock()
            inputs.drive = hertz(image)
            b = clock()
            rec = net.run(250)
            c = clock()
            q.scale_rows(ROW_SUM)
            spent += b - a, c - b, clock() - c
            spikes.append(int(rec.totals[cells.index]))
        rows.append(row("dense", FLOAT32, PRESENTED, len(shown) / (clock() - start), k))
        rows += [row("dense", FLOAT32, f"ms, {what}", 1000 * s / len(shown), k)
                 for what, s in zip(STAGES, spent, strict=True)]  # fmt: skip
        rows.append(row("dense", FLOAT32, "spikes a presentation", float(median(spikes)), k))
        rows.append(row("dense", FLOAT32, "silent presentations", spikes.count(0) / len(spikes), k))
        start = clock()
        for _ in range(100):
            net.run(1)
        rows.append(row("dense", FLOAT32, "ms, a run of one step", 10 * (clock() - start), k))
    return rows


def values(rows, part, recipe, quantity, size=None):
    key = part, recipe, quantity
    return [r["value"] for r in rows
            if (r["layer"], r["recipe"], r["quantity"]) == key and size in (None, r["size"])]  # fmt: skip


def ratio(rows, part, ours, theirs, quantity):
    return round(median(values(rows, part, theirs, quantity)) / median(values(rows, part, ours, quantity)), 2)


def curve(rows, name):
    """(sizes, medians of the cost of an event)."""
    sizes = sorted({r["size"] for r in rows if (r["layer"], r["recipe"]) == ("growth", name)})
    return sizes, [median(values(rows, "growth", name, PER_EVENT, n)) for n in sizes]


def claims_of(rows):
    target, claim, found = "project target", figures.claim, []
    for ours, theirs, bound in BARS:
        got = ratio(rows, "cuba", ours, theirs, METRIC)
        found.append(claim(f"run: {theirs} / {ours}", got, ">=", bound, source=target))
    for name, bound in ((FIRST, 10.0), (LATER, 30.0)):
        got = ratio(rows, "build", name, PEER_BUILD, CLOCK)
        found.append(claim(f"build + run: Brian2 / {name}", got, ">=", bound, source=target))
    for name in (FLOAT64, FLOAT32):
        for quantity in ("rate (Hz)", "change of the mean weight"):
            got = abs(ratio_exact(rows, name, quantity) - 1)
            found.append(claim(f"{name}: {quantity}, off Brian2's by", got, "<=", 0.05, source="Brian2, float64"))
    (_, ours), (_, theirs) = curve(rows, FLOAT32), curve(rows, BRIAN)
    found.append(claim("cost of an event, dearest / cheapest size", max(ours) / min(ours), "<=", 3.0, source=target))
    if theirs:
        for what, base in (("smallest", lambda x: x[0]), ("cheapest", min)):
            got, bound = ours[-1] / base(ours), theirs[-1] / base(theirs)
            name = f"cost of an event, largest / {what} size"
            found.append(claim(name, got, "<=", bound, source="Brian2, the same sizes"))
    for quantity in (HELD, RESIDENT):
        if got := values(rows, "memory", FLOAT32, quantity):
            found.append(claim(quantity, got[0], "<=", 20.0, source=target))
    got = median(values(rows, "dense", FLOAT32, PRESENTED))
    found.append(claim(f"dense: {PRESENTED}", got, ">=", 300.0, source=target))
    got = median(values(rows, "dense", FLOAT32, "spikes a presentation"))
    return [*found, claim("dense: spikes a presentation, median", got, ">=", 3.0, source="without spikes no learning")]


def ratio_exact(rows, name, quantity):
    return median(values(rows, "cuba", name, quantity)) / median(values(rows, "cuba", BRIAN, quantity))


def draw(rows, manifest):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(figures.STYLE):
        fig = Figure(figsize=(9.5, 6.2), layout="constrained")
        (run_, build), (grow, show) = fig.subplots(2, 2)
        names = (BRIAN, BRIAN32, FLOAT64, FLOAT32)
        ticks(run_, rows, "cuba", METRIC, names, BRIAN, {FLOAT64: 5.0, FLOAT32: 7.0})
        run_.set(xlabel="CPU s", title="A  Run of 10 s" if not quick(manifest) else "A  Run of 4 s")
        names = (PEER_BUILD, PEER_AGAIN, FIRST, LATER)
        ticks(build, rows, "build", CLOCK, names, PEER_BUILD, {FIRST: 10.0, LATER: 30.0})
        build.set(xlabel="s on the clock", title="B  Build and run")
        for name, colour, marker in ((BRIAN, "#8a97a8", "s"), (FLOAT32, "#2171b5", "o")):
            sizes, cost = curve(rows, name)
            if sizes:
                grow.plot(sizes, cost, color=colour, marker=marker, label=name)
            for n in sizes:
                each = values(rows, "growth", name, PER_EVENT, n)
                grow.plot([n] * len(each), each, ".", color=colour, alpha=0.5, markersize=4)
        cheapest = min(curve(rows, FLOAT32)[1])
        grow.axhline(3 * cheapest, color="#c00000", linewidth=1.5)
        grow.set(
            xscale="log", xlabel="neurons (fan-in 80)", ylabel="ns per synaptic event", title="C  Cost of an event"
        )
        grow.set_xticks([1000, 4000, 16000, 64000], ["1,000", "4,000", "16,000", "64,000"])
        grow.set_xticks([], minor=True)
        grow.set_ylim(0, None)
        grow.legend(fontsize=8)
        stages(show, rows)
        held, resident = ([*values(rows, "memory", FLOAT32, q), float("nan")][0] for q in (HELD, RESIDENT))
        fig.supxlabel(
            f"{N:,} neurons in A and B; triplet STDP on E to E, dt 0.1 ms. Large: median, small: repetitions, red: target; "
            f"in brackets: how many times as fast as {BRIAN}.\n"
            f"A plastic synapse takes {held:.1f} bytes in arrays, {resident:.1f} in resident memory (target 20).", fontsize=8,
        )  # fmt: skip
    return fig


def quick(manifest):
    return bool(manifest.get("config", {}).get("quick"))


def ticks(ax, rows, part, quantity, names, peer, bars):
    """A row of points for each name, the targets as red lines."""
    names = [n for n in names if values(rows, part, n, quantity)]
    theirs = median(values(rows, part, peer, quantity))
    for k, name in enumerate(names):
        each, colour = values(rows, part, name, quantity), "#8a97a8" if name.startswith("Brian2") else "#2171b5"
        ax.plot(each, [k] * len(each), ".", color=colour, alpha=0.5, markersize=5)
        ax.plot(median(each), k, "o", color=colour)
        text = f"{median(each):.2f} s ({theirs / median(each):.1f})"
        ax.annotate(text, (1.02, k), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        if name in bars:
            ax.plot([theirs / bars[name]] * 2, [k - 0.35, k + 0.35], color="#c00000", linewidth=1.5)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xscale("log")
    plain = lambda x, _: f"{x:g}"  # noqa: E731
    ax.xaxis.set_major_formatter(plain)
    low, high = ax.get_xlim()
    ax.set_xticks([x for x in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if low <= x <= high])
    ax.set_xticks([], minor=True)


def stages(ax, rows):
    """Where the time of a presentation goes."""
    left = 0.0
    for what, colour in zip(STAGES, ("#9ecae1", "#2171b5", "#084594"), strict=True):
        took = median(values(rows, "dense", FLOAT32, f"ms, {what}"))
        ax.barh(0, took, left=left, height=0.5, color=colour, label=f"{what}, {took:.2f} ms")
        left += took
    each = values(rows, "dense", FLOAT32, PRESENTED)
    ax.plot([1000 / x for x in each], [0] * len(each), ".", color="#333333", markersize=4)
    ax.plot([1000 / 300] * 2, [-0.4, 0.4], color="#c00000", linewidth=1.5)
    ax.set(xlim=(0, 1.15 * max(left, 1000 / 300, *(1000 / x for x in each))), ylim=(-0.6, 1.4), yticks=[])
    spikes = median(values(rows, "dense", FLOAT32, "spikes a presentation"))
    ax.set_xlabel("CPU ms for a presentation of 250 ms")
    ax.set_title("D  Dense, 784 to 400")
    text = f"{median(each):.0f} a second\n{spikes:.0f} spikes each"
    ax.annotate(text, (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=8)
    ax.legend(fontsize=8, loc="upper left")


if __name__ == "__main__":
    PEER_PYTHON, arguments = peer_python(sys.argv[1:])
    raise SystemExit(main(run, draw, arguments))

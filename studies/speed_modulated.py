"""How fast is reward-modulated STDP with eligibility on tensors, beside BindsNET's `MSTDPET`?

    python studies/speed_modulated.py --peer-python PATH        PATH: the Python of an environment with BindsNET 0.3.4

A dense layer, 784 to 100; STEPS steps of 1 ms; batch 1 and 16; random trains, 5 % of the pre and of the post neurons
spike at each step; a random reward at each step, of every sample its own. Both sides are given the same trains and
rewards. Timed is the plasticity alone: from given trains and rewards to weights; no forward pass on either side.
Ours: with 50 steps a window one `rule.update` for each, with its check of the trains, the weights written after it
and the state carried on; with 1 step `Online`, whose buffers are changed in place. Theirs: one `update` of the rule a
step, which writes the weights each time, on a connection between two groups of nodes whose spikes `s` are put there.
One thread each, float32; the two processes take turns, and what counts is CPU time, since other work may run beside.
The claims hold the ratio of the medians of steps per CPU second.

What theirs computes at each step (their `zero_lag=True`; without it the spikes count one step later, at the same
cost):

    p+ <- exp(-dt/tau+) p+ + a+ x,        p- <- exp(-dt/tau-) p- + a- y        x, y: spikes of pre and post, a- < 0
    z  <- exp(-dt/tau_e) z + (p+ y + x p-) / tau_e                             for every sample, [B, pre, post]
    w  <- w + nu dt sum over samples of R z

So in each sample a coincident pair gives a+ and a- at once, where the package's timing gives a+. Written in our terms
(`rule` below) it is the same rule, and the weights after all steps are claimed to be equal. Both keep one eligibility
a sample, since each has a reward of its own.

Expected: with 50 steps a window 10 (batch 1) and 20 (batch 16) times theirs, with 1 step 3 and 4 times.

Found: met, those of batch 1 barely. Two runs on an otherwise idle machine: with 50 steps 12.6 and 11.3 times (batch
1), 26 and 25 (batch 16); with 1 step 3.3 and 3.0, 8.1 and 8.2. The second is figures/speed_modulated.json. Beside other
work those of batch 1 were missed (9.9 and 1.6 to 2.7). Theirs does 2,300 steps a second of batch 1 here, where the
targets were set 580.

The peer: python -m venv PEER; PEER/bin/pip install torch==2.13.0 "numpy<2.4"; PEER/bin/pip install --no-deps
bindsnet==0.3.4. Its rules need no more than that, but `import bindsnet` would import all of it (torchvision, OpenCV,
Atari games), so the peer's program imports its two subpackages `network` and `learning` alone.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import nn

from neurosim import figures
from neurosim.peers import answered, peer_python, ratios, started
from neurosim.plasticity import Record
from neurosim.rules import SpikeRule, Term, Trace
from neurosim.rules.online import Online
from neurosim.study import main

SEEDS = 9  # repetitions
STEPS, PRE, POST, RATE = 1000, 784, 100, 0.05
BOUNDS = ((1, 50, 10.0), (16, 50, 20.0), (1, 1, 3.0), (16, 1, 4.0))  # batch, steps a window, target
TAU, TAU_E, A_PLUS, A_MINUS, NU = 20.0, 25.0, 1.0, 1.05, 1e-4
SPEED, APART = "steps per CPU second", "relative difference of the weights"
METRIC = "simulated steps of the whole batch per CPU second"
PEER_PYTHON = ""  # from the command line

told = {"gate": "reward", "tau_e": TAU_E}
rule = SpikeRule(
    {"r1": Trace("pre", TAU), "o1": Trace("post", TAU)},
    (
        Term(NU * A_PLUS / TAU_E, ("post", "r1"), **told),
        Term(-NU * A_MINUS / TAU_E, ("pre", "o1"), **told),
        Term(-NU * A_MINUS / TAU_E, ("pre", "post"), **told),  # theirs reads o1 after its bump
    ),
    per_lane=True,
)
peer_program = f"""
import importlib.util, json, sys, time, types
import torch
found = importlib.util.find_spec("bindsnet").submodule_search_locations
package = sys.modules["bindsnet"] = types.ModuleType("bindsnet")  # without its __init__, which imports all
package.__path__ = found
from bindsnet.network.nodes import Input
from bindsnet.network.topology import Connection
from bindsnet.learning import MSTDPET
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    path = json.loads(line)
    pre, post, reward = torch.load(path)
    source, target = Input(n={PRE}), Input(n={POST})
    for nodes in (source, target):
        nodes.set_batch_size(pre.shape[1])
    connection = Connection(
        source, target, w=torch.zeros({PRE}, {POST}), update_rule=MSTDPET, nu={NU}, zero_lag=True,
        tc_plus={TAU}, tc_minus={TAU}, tc_e_trace={TAU_E},
    )
    connection.dt = 1.0  # as a network sets it
    a_plus, a_minus, update = torch.tensor({A_PLUS}), torch.tensor(-{A_MINUS}), connection.update_rule.update
    pre, post, reward = pre.bool(), post.bool(), reward[..., None]
    with torch.no_grad():
        start = time.process_time()
        for source.s, target.s, R in zip(pre, post, reward):
            update(reward=R, a_plus=a_plus, a_minus=a_minus)
        seconds = time.process_time() - start
    torch.save(connection.w.data.T.contiguous(), path)
    print(seconds, flush=True)
"""


def given(steps, batch, seed):
    """Trains of pre and post [T, B, N], and the reward [T, B, 1]."""
    g = torch.Generator().manual_seed(seed)
    trains = [(torch.rand(steps, batch, n, generator=g) < RATE).to(torch.get_default_dtype()) for n in (PRE, POST)]
    return *trains, torch.randn(steps, batch, 1, generator=g)


def ours(window, pre, post, reward):
    """(CPU seconds, weights) of all the steps, the weights written after each window."""
    synapse = nn.Linear(PRE, POST, bias=False)
    w, state = torch.zeros(POST, PRE, dtype=pre.dtype), {}
    start = time.process_time()
    if window == 1:
        online = Online(rule, w, 1.0, pre.shape[1])
        for x, y, R in zip(pre, post, reward, strict=True):
            online.step(x, y, {"reward": R})
        return time.process_time() - start, w
    for x, y, R in zip(pre.split(window), post.split(window), reward.split(window), strict=True):
        w += rule.update(Record("dense", synapse, w, x, y, y, y, {}, dt=1.0), {"reward": R}, state)
    return time.process_time() - start, w


def theirs(peer, folder, pre, post, reward):
    """The same of the peer's rule, in its own process."""
    path = Path(folder) / "given.pt"
    torch.save((pre, post, reward), path)
    return float(answered(peer, json.dumps(str(path)), "rule")), torch.load(path)


def run(mode):
    threads, steps = torch.get_num_threads(), 100 if mode.quick else STEPS
    rows = []
    with (
        started(PEER_PYTHON, peer_program, "BindsNET", "BindsNET's MSTDPET") as peer,
        tempfile.TemporaryDirectory() as folder,
    ):
        torch.set_num_threads(1)
        for repeat in range(-1, mode.seeds):  # the first warms up
            for batch in (1, 16):
                shown = given(steps, batch, repeat + 1)
                cell = {1: ours(1, *shown), "BindsNET": theirs(peer, folder, *shown), 50: ours(50, *shown)}
                if repeat >= 0:
                    rows += rows_of(batch, repeat, steps, cell)
    torch.set_num_threads(threads)
    for batch, window, _ in BOUNDS:
        print(f"batch {batch}, weights written every {window}: {figure_of(rows, batch, window)}")
    return rows, claims_of(rows)


def rows_of(batch, repeat, steps, cell):
    at, want = {"seed": repeat, "layer": batch}, cell["BindsNET"][1]
    found = [at | {"recipe": str(k), "quantity": SPEED, "value": steps / s} for k, (s, _) in cell.items()]
    apart = {k: ((w - want).norm() / want.norm()).item() for k, (_, w) in cell.items() if k != "BindsNET"}
    return found + [at | {"recipe": str(k), "quantity": APART, "value": v} for k, v in apart.items()]


def claims_of(rows):
    found = []
    for batch, window, bound in BOUNDS:
        name = f"batch {batch}, weights written every {window} steps: ratio of medians"
        got = ratio(rows, batch, window)
        found.append(figures.claim(name, got, ">=", bound, source="project target"))
    for batch in (1, 16):
        worst = max(r["value"] for r in rows if (str(r["layer"]), r["quantity"]) == (str(batch), APART))
        found.append(figures.claim(f"batch {batch}: {APART}", worst, "<=", 1e-4, source="BindsNET 0.3.4, float32"))
    return found


def timed(rows, batch, kind):
    return [r["value"] for r in rows if (str(r["layer"]), r["recipe"], r["quantity"]) == (str(batch), str(kind), SPEED)]


def ratio(rows, batch, window):
    return median(timed(rows, batch, window)) / median(timed(rows, batch, "BindsNET"))


def figure_of(rows, batch, window):
    each = [a / b for a, b in zip(timed(rows, batch, window), timed(rows, batch, "BindsNET"), strict=True)]
    mine, peers = median(timed(rows, batch, window)), median(timed(rows, batch, "BindsNET"))
    return f"{mine:,.0f} / {peers:,.0f} steps per CPU s = {mine / peers:.2f} ({min(each):.2f} to {max(each):.2f})"


def draw(rows, manifest):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(figures.STYLE):
        fig = Figure(figsize=(8, 3.0), layout="constrained")
        ax = fig.subplots()
        lines = [
            (f"batch {batch}, weights written\nevery {'step' if window == 1 else f'{window} steps'}",
             timed(rows, batch, window), timed(rows, batch, "BindsNET"), bound, "#2171b5" if window == 50 else "#a63603")
            for batch, window, bound in BOUNDS
        ]  # fmt: skip
        ratios(ax, lines, "BindsNET's MSTDPET", (0.5, 1, 2, 3, 5, 10, 20, 40))
        ax.set_title("Reward-modulated STDP with eligibility, 784 to 100, one thread")
    return fig


if __name__ == "__main__":
    PEER_PYTHON, arguments = peer_python(sys.argv[1:])
    raise SystemExit(main(run, draw, arguments))

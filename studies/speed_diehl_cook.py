"""How fast is Diehl & Cook's network, and how well does it learn, beside BindsNET's `DiehlAndCook2015`?

    python studies/speed_diehl_cook.py --peer-python PATH        PATH: the Python of an environment with BindsNET 0.3.4

784 Poisson inputs, 400 excitatory and 400 inhibitory neurons, Fashion-MNIST, 250 ms an image at dt = 1 ms (ours one by one at
.5 ms, twice as many steps), plasticity on. In each repetition all sides learn the same images from new weights, in turns:

    ours, batch 1        `DiehlCook(784, 400).learn`: event-driven, weights change at every spike by pair STDP with nearest
                         spikes, as BindsNET's PostPre; an image with fewer than 5 spikes is shown again. Each image drives its
                         inputs at 10 Hz on average. Step and rule were chosen on the validation part: at 1 ms many neurons fire
                         before inhibition comes, and the authors' triplet rule learns less from few images
    ours, batch 32       `networks.diehl_cook` on tensors with the recipe triplet-stdp, dW summed over a batch
    BindsNET, batch 1    500 images (--full 2,000), since it is slow
    BindsNET, batch 32   2,000 images (--full 10,000), like ours

BindsNET with the parameters of its own examples for MNIST (eth_mnist, batch_eth_mnist): exc 22.5, inh 120, theta_plus 0.05,
nu (1e-4, 1e-2), norm 78.4, its default sum over a batch. Twice: at their intensity, 128 Hz for the brightest pixel, chosen
for MNIST, whose images are thinner (Fashion-MNIST's drive their inputs at 37 Hz then), and at our 10 Hz. Its one monitor
holds the excitatory spikes; its Poisson encoder is given image by image, as its data loader does and faster than a batch at
once.

Timed is learning alone, encoding included (intensities to rates, rates to spikes), on networks that are built before; compiling
is done in a first round that does not count. One thread each, float32, in CPU seconds, since other work may run beside. The
claims hold the ratio of the medians of images per CPU second, against the faster of BindsNET's two codings. Spikes per image
are those of the excitatory neurons, of all images learned.

Accuracy: on test images, shown with plasticity off (by the engine: weights and thresholds are put back after each image, and
images that answer with fewer than five spikes are shown again). Each neuron's class is assigned on the training images alone,
the last 2,000, from the spikes it gave while it learned: `assign` and `vote`, theirs `assign_labels` and `all_activity`; on
tensors by the recipe's running mean of each class. Claimed: ours does no worse after the same number of images at the same
batch size, against each coding.

Expected: batch 1 100 times theirs, batch 32 5 times. The targets were set where theirs did 2 and 30 images a second.

Found (three repetitions, other work beside): batch 1 104 times (947 and 9.1 images a CPU second), batch 32 5.5 times (296 and
54). Accuracy after the same images: batch 1 .538 against .501 and .534 at 10 Hz, batch 32 .585 against .331 and .520. One by
one ours spikes more often, 67 times an image over 500 images (theirs 14 and 29); in batches 21 times (12 and 31).

References: Diehl & Cook 2015, Front Comput Neurosci 9:99; BindsNET: Hazan et al. 2018, Front Neuroinform 12:89.

The peer: python -m venv PEER; PEER/bin/pip install torch==2.13.0 "numpy<2.4" scipy scikit-learn; PEER/bin/pip install --no-deps
bindsnet==0.3.4. It asks for torch 2.14, but runs unchanged on 2.13. `import bindsnet` would import all of it (torchvision,
OpenCV, Atari games), so the peer's program imports its subpackages network, models, encoding and evaluation alone.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from neurosim import figures
from neurosim.diehl_cook import MEAN, DiehlCook, assign, rates_of, vote
from neurosim.networks.diehl_cook import EXCITATORY, diehl_cook
from neurosim.peers import answered, peer_python, started
from neurosim.plasticity import Batch, Learner
from neurosim.recipes_diehl_cook import DIEHL_COOK
from neurosim.rules import pair
from neurosim.study import main
from neurosim.tasks import TASKS, cross_entropy
from neurosim.tasks.coding import EvenPoissonCode

SEEDS, SEEDS_FULL = 5, 3  # repetitions
USUAL, FULL, QUICK = (500, 2000, 500), (2000, 10_000, 1000), (32, 128, 100)  # images learned at batch 1, at 32, tested
N, BATCH, SHOWN, INTENSITY, CLASSES, LABELLED = 400, 32, 250, 128.0, 10, 2000
STEP, PAIR = 0.5, pair(A_plus=1e-2, A_minus=1e-4, nearest=True)  # of our batch 1
CODINGS = (("intensity 128", None), ("10 Hz", MEAN))
BOUNDS = ((1, 100.0), (BATCH, 5.0))  # batch, target
OURS, TENSORS = "ours, batch 1", f"ours, batch {BATCH}"
SPEED, SPIKES, TEST = "images per CPU second", "excitatory spikes per image", "test accuracy"
METRIC = SPEED
PEER_PYTHON = ""  # from the command line

peer_program = f"""
import importlib.util, json, sys, time, types
import numpy as np
import torch
found = importlib.util.find_spec("bindsnet").submodule_search_locations
package = sys.modules["bindsnet"] = types.ModuleType("bindsnet")  # without its __init__, which imports all
package.__path__ = found
import bindsnet.network  # first, since it and `learning` import each other
from bindsnet.encoding import PoissonEncoder
from bindsnet.evaluation import all_activity, assign_labels
from bindsnet.models import DiehlAndCook2015
from bindsnet.network.monitors import Monitor
torch.set_num_threads(1)
encode = PoissonEncoder(time={SHOWN}, dt=1.0)

def shown(network, images, batch, mean):  # -> spikes [k, 1, n], as if all in one step
    counts = []
    for some in images.split(batch):
        some = some.float()
        rates = some * ({INTENSITY} / 255) if mean is None else some * (mean / some.mean((1, 2, 3), keepdim=True))
        network.run({{"X": torch.stack([encode(image) for image in rates], 1)}}, time={SHOWN})
        counts.append(network.monitors["Ae"].get("s").sum(0))
        network.reset_state_variables()
    return torch.cat(counts)[:, None].float()

print("ready", flush=True)
for line in sys.stdin:
    path, learned, batch, mean, seed = json.loads(line)
    with np.load(path) as given:
        x, y, test, said = (torch.from_numpy(given[k]) for k in ("x", "y", "test", "said"))
    torch.manual_seed(seed)
    network = DiehlAndCook2015(n_inpt=784, n_neurons={N}, exc=22.5, inh=120.0, dt=1.0, norm=78.4, nu=(1e-4, 1e-2),
                               theta_plus=0.05, inpt_shape=(1, 28, 28))
    network.add_monitor(Monitor(network.layers["Ae"], ["s"], time={SHOWN}), "Ae")
    with torch.no_grad():
        start = time.process_time()
        counts = shown(network, x[:learned], batch, mean)
        seconds = time.process_time() - start
        network.train(False)
        labels = assign_labels(counts[-{LABELLED}:], y[:learned][-{LABELLED}:], {CLASSES})[0]
        right = all_activity(shown(network, test, 100, mean), labels, {CLASSES}) == said
    print(json.dumps([seconds, counts.sum((1, 2)).mean().item(), right.float().mean().item()]), flush=True)
"""


def tensors(x, y, test, said, seed):
    """(CPU seconds, excitatory spikes per image, test accuracy) of our network on tensors, which learned x in batches."""
    code, noise = EvenPoissonCode(MEAN), torch.Generator().manual_seed(seed)

    def shown(images, y):
        trains = code(torch.from_numpy(images).float(), SHOWN, 1.0, noise)
        return Batch(trains, torch.from_numpy(y), cross_entropy, time=True, dt=1.0)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = diehl_cook(x.shape[1:], CLASSES, N)
    recipe = DIEHL_COOK["triplet-stdp"].recipe({}, False)
    learner = Learner(net, recipe, shown(x[:BATCH], y[:BATCH]), seed)
    start, spikes = time.process_time(), 0.0
    for k in range(0, len(x), BATCH):
        some = shown(x[k : k + BATCH], y[k : k + BATCH])
        theta = float(learner.net.excitatory.threshold.weight.detach().sum())
        dtheta = float(learner.step(some)["excitatory.threshold"].sum())  # grown by each spike, less its decay
        spikes += (dtheta + theta * some.size * SHOWN / EXCITATORY.tau_theta) / EXCITATORY.theta_plus
    seconds = time.process_time() - start
    parts = [slice(k, k + 100) for k in range(0, len(test), 100)]
    right = torch.cat([learner.predict(b := shown(test[s], said[s])).argmax(1) == b.target for s in parts])
    return seconds, spikes / len(x), float(right.float().mean())


def ours(x, y, test, said, seed):
    """(CPU seconds, excitatory spikes per image, test accuracy) of the event-driven network that learned x."""
    model = DiehlCook(x.shape[1], N, seed, dt=STEP, shown=SHOWN, rule=PAIR)
    model.net.made()
    start = time.process_time()
    counts = model.learn(rates_of(x))
    seconds = time.process_time() - start
    labels = assign(counts[-LABELLED:], y[-LABELLED:], CLASSES)
    right = vote(model.respond(rates_of(test)), labels, CLASSES) == said
    return seconds, counts.sum(1).mean(), right.mean()


def theirs(batch, coding):
    return f"BindsNET, batch {batch}, {coding}"


def run(mode):
    sizes = QUICK if mode.quick else FULL if mode.full else USUAL
    threads, rows = torch.get_num_threads(), []
    with (
        started(PEER_PYTHON, peer_program, "BindsNET", "BindsNET's DiehlAndCook2015") as peer,
        tempfile.TemporaryDirectory() as folder,
    ):
        task, path = TASKS["fashion"](mode.data), Path(folder) / "images.npz"
        torch.set_num_threads(1)
        try:
            turn(peer, path, task, mode.seeds, (2, BATCH, 10))  # warms up
            for seed in range(mode.seeds):
                rows += turn(peer, path, task, seed, sizes)
        finally:
            torch.set_num_threads(threads)
    for recipe, learned in lines_of(rows):
        got = [median(values(rows, recipe, learned, q)) for q in (SPEED, SPIKES)]
        test = [f"{mean(v):.3f}" for v in [values(rows, recipe, learned, TEST)] if v]
        print(f"{recipe}, {learned:,} images: {got[0]:,.1f} a CPU s, {got[1]:.1f} spikes each", *test, sep=", ")
    return rows, claims_of(rows, mode.quick)


def turn(peer, path, task, seed, sizes):
    """Rows of one repetition: all sides learn the same images."""
    learned, tested = dict(zip((1, BATCH), sizes[:2], strict=True)), sizes[2]
    split = task.split(seed)
    chosen = np.random.default_rng(seed).permutation(len(split.train_x))[: max(sizes[:2])]
    x, y = split.train_x.numpy()[chosen], split.train_y.numpy()[chosen]
    test, said = split.test_x[:tested].numpy(), split.test_y[:tested].numpy()
    np.savez(path, x=x, y=y, test=test, said=said)
    flat, cells = x.reshape(len(x), -1), {}
    for batch, k in learned.items():
        cells[OURS, k] = ours(flat[:k], y[:k], test.reshape(tested, -1), said, seed)
        for coding, hertz in CODINGS:
            question = json.dumps([str(path), k, batch, hertz, seed])
            cells[theirs(batch, coding), k] = json.loads(answered(peer, question, "DiehlAndCook2015"))
    k = learned[BATCH]
    cells[TENSORS, k] = tensors(flat[:k], y[:k], test.reshape(tested, -1), said, seed)
    return rows_of(seed, cells)


def rows_of(seed, cells):
    """cells: {(recipe, images learned): (CPU seconds, spikes per image, accuracy where it was tested)}."""
    rows = []
    for (recipe, k), (seconds, *told) in cells.items():
        at = {"recipe": recipe, "seed": seed, "samples": k}
        told = zip((SPEED, SPIKES, TEST), (k / seconds, *told), strict=False)
        rows += [at | {"quantity": q, "value": float(v)} for q, v in told]
    return rows


# ---------------------------------------------------------------------------------------------- claims and figure
def values(rows, recipe, learned, quantity):
    key = recipe, learned, quantity
    return [r["value"] for r in rows if (r["recipe"], r["samples"], r["quantity"]) == key]


def lines_of(rows):
    """(recipe, images learned) of all that was run: ours, then theirs, by batch and images."""
    order = [OURS, TENSORS, *(theirs(batch, coding) for batch, _ in BOUNDS for coding, _ in CODINGS)]
    return sorted({(r["recipe"], r["samples"]) for r in rows}, key=lambda line: (order.index(line[0]), line[1]))


def learned_at(rows, batch):
    """How many images BindsNET learned at that batch size."""
    return next(r["samples"] for r in rows if r["recipe"] == theirs(batch, CODINGS[0][0]))


def fastest(rows, batch):
    """Images per CPU second of BindsNET, of the faster coding."""
    return max(median(values(rows, theirs(batch, c), learned_at(rows, batch), SPEED)) for c, _ in CODINGS)


def claims_of(rows, quick):
    found = []
    for (batch, bound), name in zip(BOUNDS, (OURS, TENSORS), strict=True):
        got = round(median(values(rows, name, learned_at(rows, batch), SPEED)) / fastest(rows, batch), 2)
        found.append(
            figures.claim(f"batch {batch}: ratio of medians, {SPEED}", got, ">=", bound, source="project target")
        )
    for (batch, _), mine in zip(BOUNDS, (OURS, TENSORS), strict=True) if not quick else ():
        k = learned_at(rows, batch)
        for coding, _ in CODINGS:
            pair = [mean(values(rows, name, k, TEST)) for name in (theirs(batch, coding), mine)]
            name = f"accuracy after {k:,} images: {mine}, no worse than {theirs(batch, coding)}"
            found.append(figures.claim(name, pair, "ordering", ["BindsNET", "ours"], 0, "BindsNET 0.3.4"))
    return found


def draw(rows, manifest):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = lines_of(rows)
    with rc_context(figures.STYLE):
        fig = Figure(figsize=(10, 0.9 + 0.42 * len(lines)), layout="constrained")
        speed, accuracy = fig.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
        for at, (recipe, learned) in enumerate(lines):
            colour = "#2171b5" if recipe in (OURS, TENSORS) else "#8a97a8"
            for ax, quantity, middle in ((speed, SPEED, median), (accuracy, TEST, mean)):
                if each := values(rows, recipe, learned, quantity):
                    ax.plot(each, [at] * len(each), ".", color=colour, alpha=0.4)
                    ax.plot(middle(each), at, "o", color=colour)
            spikes = median(values(rows, recipe, learned, SPIKES))
            text = f"{median(values(rows, recipe, learned, SPEED)):,.1f}\n{spikes:.0f} spikes"
            speed.annotate(text, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=7)
            for (batch, bound), name in zip(BOUNDS, (OURS, TENSORS), strict=True):
                if (recipe, learned) == (name, learned_at(rows, batch)):
                    speed.plot([bound * fastest(rows, batch)] * 2, [at - 0.4, at + 0.4], color="#c00000", linewidth=1.5)
        speed.set(xscale="log", xlabel=f"{SPEED}; large: median\nred: target, times the faster coding of BindsNET")
        speed.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        speed.set_title("A  Learning, encoding included; spikes per image")
        speed.set_yticks(range(len(lines)), [f"{recipe}: {learned:,} images" for recipe, learned in lines])
        speed.set_ylim(len(lines) - 0.5, -0.5)
        accuracy.axvline(1 / CLASSES, color="#888888", linestyle=":", linewidth=1)
        accuracy.set(xlabel=f"{TEST}; large: mean\ndotted: chance", title="B  Fashion-MNIST, 10 classes")
    return fig


if __name__ == "__main__":
    PEER_PYTHON, arguments = peer_python(sys.argv[1:])
    raise SystemExit(main(run, draw, arguments))

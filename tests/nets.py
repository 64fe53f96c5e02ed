"""Small nets and batches that the proofs run on, and references written without the package's forward."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from neurosim.networks import cnn
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Rate, Recipe, synapses

T, B = 20, 5


def ce(o, y):
    return F.cross_entropy(o, y, reduction="none")


def ce_seq(o, y):  # o [T, B, K], y [T, B]
    return F.cross_entropy(o.flatten(0, 1), y.flatten(), reduction="none").reshape(y.shape).sum(0)


def mse(o, y):
    return ((o - y) ** 2).sum(1) / 2


def mse_seq(o, y):
    return ((o - y) ** 2).sum((0, 2)) / 2


def dense(i, o, gain=1.0):
    m = nn.Linear(i, o, bias=False)
    nn.init.normal_(m.weight, std=gain / i**0.5)
    return m


def mlp(*n, phi=torch.tanh):
    ends = len(n) - 2
    return nn.Sequential(*[Layer(dense(a, b), phi if k < ends else Rate()) for k, (a, b) in enumerate(zip(n, n[1:]))])


def conv_net():
    return nn.Sequential(
        Layer(nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), torch.tanh),
        nn.AvgPool2d(2),
        Layer(nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), torch.tanh),
        nn.Flatten(),
        Layer(dense(24, 3)),
    )


def rnn(i=3, n=8, o=2, neuron=None):
    neuron = neuron or Rate(torch.tanh, tau=2.8)
    return nn.Sequential(
        OrderedDict(hidden=Layer(dense(i, n), neuron, recurrent=dense(n, n)), readout=Layer(dense(n, o)))
    )


class Attention(nn.Module):  # causal, [T, B, d]
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (Layer(dense(d, d)) for _ in range(4))

    def forward(self, x):
        steps, batch, d = x.shape
        q, k, v = (f(x).reshape(steps, batch, self.heads, -1).permute(1, 2, 0, 3) for f in (self.q, self.k, self.v))
        a = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5
        a = (a + torch.full((steps, steps), -1e9, dtype=x.dtype).triu(1)).softmax(-1)
        return self.o((a @ v).permute(2, 0, 1, 3).reshape(steps, batch, d))


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(d), Attention(d, heads), nn.LayerNorm(d)
        self.up, self.down = Layer(dense(d, 2 * d), F.gelu), Layer(dense(2 * d, d))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.up(self.norm2(x)))


def transformer(d=8, words=5):
    return nn.Sequential(OrderedDict(embed=Layer(dense(words, d)), block=Block(d, 2), readout=Layer(dense(d, words))))


class TwoPopulations(nn.Module):  # excitatory and inhibitory, with a time loop of their own and four recurrent groups
    def __init__(self):
        super().__init__()
        self.E = Layer(dense(3, 6), Rate(torch.tanh, tau=2.0), ee=dense(6, 6), ei=dense(4, 6))
        self.I = Layer(dense(6, 4), Rate(torch.sigmoid, tau=1.0), ii=dense(4, 4))
        self.readout = Layer(dense(6, 2))

    def forward(self, x):
        e, i, ys = self.E.begin(), self.I.begin(), []
        for t, x_t in enumerate(x):
            e = self.E.step(e, t, input=x_t, ee=e.get("y"), ei=i.get("y"))
            i = self.I.step(i, t, input=e["y"], ii=i.get("y"))
            ys.append(e["y"])
        return self.readout(torch.stack(ys))


def cases():
    torch.manual_seed(0)
    lif = AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=0.1)
    return {
        "mlp": (mlp(6, 7, 5, 3), Batch(torch.randn(B, 6), torch.randint(3, (B,)), ce)),
        "conv": (conv_net(), Batch(torch.randn(B, 2, 8, 8), torch.randint(3, (B,)), ce)),
        "rnn": (rnn(), Batch(torch.randn(T, B, 3), torch.randn(T, B, 2), mse_seq, time=True, dt=1.0)),
        "attention": (
            transformer(),
            Batch(F.one_hot(torch.randint(5, (7, B)), 5).double(), torch.randint(5, (7, B)), ce_seq, time=True),
        ),
        "lif": (rnn(neuron=lif), Batch(torch.randn(T, B, 3).abs(), torch.randn(T, B, 2), mse_seq, time=True, dt=1.0)),
        "two populations": (
            TwoPopulations(),
            Batch(torch.randn(15, 4, 3), torch.randn(15, 4, 2), mse_seq, time=True, dt=1.0),
        ),
    }


NAMES = ("mlp", "conv", "rnn", "attention", "lif", "two populations")


def learner(net, batch, credit, rule=Gradient(), seed=0, **fields):
    rules = rule if isinstance(rule, dict) else {"*": rule}
    return Learner(net, Recipe("test", rules, credit, **fields), batch, seed)


def updates(net, batch, credit, rule=Gradient(), seed=0, **fields):
    return learner(net, batch, credit, rule, seed, **fields).updates(batch)


def autograd(net, batch):
    """-dL/dW of the mean loss by plain autograd through the bare module, or `hand_loop` where there is time."""
    weights = {n: m.weight for n, m in synapses(net).items()}
    out = hand_loop(net, batch) if batch.dt else net(batch.x)
    grads = torch.autograd.grad(batch.loss(out, batch.target).mean(), list(weights.values()))
    return {n: -g for n, g in zip(weights, grads)}


def hand_loop(net, batch, cut=False):
    """The recurrent nets above, written out step by step with nothing of the package but their weights and constants."""
    if isinstance(net, TwoPopulations):
        return _two_populations(net, batch)
    wi, wr, wo = net.hidden.input.weight, net.hidden.recurrent.weight, net.readout.input.weight
    n, neuron = wr.shape[0], net.hidden.neuron
    v = a = y = torch.zeros(batch.size, n)
    ys = []
    for x in batch.x:
        r = y.detach() if cut else y
        if isinstance(neuron, Rate):
            leak = torch.exp(torch.tensor(-batch.dt / neuron.tau))
            v = leak * v + (1 - leak) * (x @ wi.T + r @ wr.T)
            y = torch.tanh(v)
        else:
            alpha, rho = (torch.exp(torch.tensor(-batch.dt / tau)) for tau in (neuron.tau_m, neuron.tau_a))
            v, a = alpha * v + x @ wi.T + r @ wr.T - neuron.threshold * y.detach(), rho * a + y
            y = Spike.apply((v - neuron.threshold - neuron.beta * a) / neuron.threshold)
        ys.append(y)
    return torch.stack(ys) @ wo.T


def _two_populations(net, batch):
    W = {n: m.weight for n, m in synapses(net).items()}
    le, li = torch.exp(torch.tensor(-0.5)), torch.exp(torch.tensor(-1.0))
    ve = ye = torch.zeros(batch.size, 6)
    vi = yi = torch.zeros(batch.size, 4)
    ys = []
    for x in batch.x:
        ve = le * ve + (1 - le) * (x @ W["E.input"].T + ye @ W["E.ee"].T + yi @ W["E.ei"].T)
        ye = torch.tanh(ve)
        vi = li * vi + (1 - li) * (ye @ W["I.input"].T + yi @ W["I.ii"].T)
        yi = torch.sigmoid(vi)
        ys.append(ye)
    return torch.stack(ys) @ W["readout.input"].T


class Given(nn.Module):
    """A population whose spikes are prescribed."""

    memory = False
    spikes = None

    def step(self, s, u, dt):
        return {"v": u}

    def out(self, s):
        return self.spikes + 0 * s["v"]


class Spike(torch.autograd.Function):
    """H(x) with the triangular surrogate, as an autograd function: a second way to write the straight-through."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 0.3 * (1 - x.abs()).clamp(min=0)


def relative(a, b):
    """Largest relative error over the synapses of b; nan and 0/0 fail any comparison."""
    return max(((a[n] - b[n]).norm() / b[n].norm()).item() for n in b)


def cosines(a, b):
    return {n: F.cosine_similarity(a[n].flatten(), b[n].flatten(), 0).item() for n in b}


# ---------------------------------------------------------------------------------------------- nets of the line-up
LINE_UP_BATCH, LINE_UP_CLASSES = 6, 4


def net_and_batch(phi=torch.relu, seed=0, sizes=(7, 6, 5, LINE_UP_CLASSES)):
    torch.manual_seed(seed)
    return mlp(*sizes, phi=phi), Batch(
        torch.randn(LINE_UP_BATCH, sizes[0]), torch.randint(sizes[-1], (LINE_UP_BATCH,)), ce
    )


def lenet(seed=0, phi=torch.tanh):
    torch.manual_seed(seed)
    net = cnn((1, 8, 8), LINE_UP_CLASSES, phi=phi).double()
    return net, Batch(torch.randn(LINE_UP_BATCH, 1, 8, 8), torch.randint(LINE_UP_CLASSES, (LINE_UP_BATCH,)), ce)

"""Spiking neurons against closed forms and a solver of differential equations; Brian2 judges them in test_brian.py."""

import math
from fractions import Fraction

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

from neurosim.neurons import AdaptiveLIF, Rate, Sigmoid, ThresholdLinear, scan
from neurosim.plasticity import Batch, Layer, play, returned
from neurosim.spiking import LIF, AdEx, ConductanceLIF, Izhikevich, Poisson
from tests.nets import dense, mse_seq


def constant(value, steps, n=1):
    return torch.full((steps, 1, n), value)


def spike_steps(y):
    return y.flatten().nonzero().flatten()


# ---------------------------------------------------------------------------------------------- integrate-and-fire
@pytest.mark.parametrize("refractory", (0.0, 2.0))
def test_the_rate_of_lif_is_its_closed_form(refractory):
    """interval = refractory + tau_m ln((u + v_rest - v_reset) / (u + v_rest - v_threshold)), seen in steps of dt."""
    dt, n = 0.05, LIF(tau_m=15.0, v_reset=-70.0, refractory=refractory)
    u = torch.linspace(15.5, 60.0, 12)
    y, _, _ = scan(n, u.expand(3200, 1, -1), dt)
    want = refractory + n.tau_m * torch.log((u + 5) / (u - 15))
    for k in range(len(u)):
        intervals = spike_steps(y[:, 0, k]).diff() * dt
        assert len(intervals) >= 1
        assert intervals.max() - intervals.min() < 1e-9  # a constant drive: the same every time
        late = (
            intervals[0].item() - want[k].item() + (dt if refractory else 0.0)
        )  # rest begins at the end of the spike's step
        assert -1e-9 < late <= dt + 1e-9  # and a crossing is seen at the end of its step


def test_lif_stays_silent_at_its_threshold_and_answers_exactly_below():
    n = LIF()
    y, s, _ = scan(n, constant(15.0, 3000), 1.0)
    assert y.sum() == 0
    t = torch.arange(1, 101) * 1.0
    assert (s["v"][:100, 0, 0] - (-65 + 15 * (1 - torch.exp(-t / 20)))).abs().max() < 1e-12


@pytest.mark.parametrize("dt", (2.0, 1.0, 0.25))
@pytest.mark.parametrize("tau_syn", (5.0, 20.0, 40.0))
def test_the_answer_to_one_kick_is_a_difference_of_exponentials(tau_syn, dt):
    """v - v_rest = u tau_syn / (tau_m - tau_syn) (exp(-t/tau_m) - exp(-t/tau_syn)), or u t/tau exp(-t/tau): at any dt."""
    u = constant(0.0, int(100 / dt))
    u[0] = 8.0
    _, s, _ = scan(LIF(tau_syn=tau_syn), u, dt)
    t = torch.arange(1, len(u) + 1) * dt
    if tau_syn == 20.0:
        want = 8 * t / 20 * torch.exp(-t / 20)
    else:
        want = 8 * tau_syn / (20 - tau_syn) * (torch.exp(-t / 20) - torch.exp(-t / tau_syn))
    assert (s["v"][:, 0, 0] + 65 - want).abs().max() < 1e-12


@pytest.mark.parametrize("neuron", (LIF(), LIF(tau_syn=5.0), ConductanceLIF(I=90.0)))
def test_half_the_step_gives_the_same_v(neuron):
    """Under what is constant between the steps: u without synapses, nothing after the first step with them."""
    u = constant(10.0, 50)
    if neuron != LIF():
        u[:] = 0
        u[0] = 4.0 if isinstance(neuron, LIF) else 0.0
    fine = u.repeat_interleave(2, 0)
    if isinstance(neuron, LIF) and neuron.tau_syn:
        fine[1] = 0
    whole, half = scan(neuron, u, 1.0)[1]["v"], scan(neuron, fine, 0.5)[1]["v"]
    assert whole.max() > neuron.v_reset + 0.5
    assert (half[1::2] - whole).abs().max() < 1e-12


@pytest.mark.parametrize("refractory, held", [(0.0, 1), (0.5, 1), (2.0, 4), (2.3, 4), (2.5, 5)])
@pytest.mark.parametrize("make", (LIF, ConductanceLIF, AdEx))
def test_the_refractory_period_is_whole_steps(make, refractory, held):
    """Under a drive that fires it in one step, spikes are max(1, refractory / dt) steps apart, and v rests between."""
    y, s, _ = scan(make(refractory=refractory), constant(1e6, 40), 0.5)
    at = spike_steps(y)
    assert at.tolist() == list(range(0, 40, held))
    v = s["v"].flatten()
    resting = [k for k in range(40) if k % held]
    assert all(v[k] == make().v_reset for k in resting)


# ---------------------------------------------------------------------------------------------- order of convergence
def adex_field(n, u):
    def field(_, x):
        v, w = x
        up = n.g_L * n.Delta_T * math.exp((v - n.v_T) / n.Delta_T)
        return [(-n.g_L * (v - n.E_L) + up - w + u) / n.C, (n.a * (v - n.E_L) - w) / n.tau_w]

    return field, [n.E_L, 0.0]


def izhikevich_field(n, u):
    def field(_, x):
        v, r = x
        return [0.04 * v * v + 5 * v + 140 - r + u, n.a * (n.b * v - r)]

    return field, [n.c, n.b * n.c]


def conductance_field(n, kick):
    def field(_, x):
        v, g = x
        return [(n.g_L * (n.E_L - v) + g * (n.E_e - v)) / n.C, -g / n.tau_e]

    return field, [n.E_L, kick]


FIELDS = {  # neuron, its equations once more, drive, ms: all before the first spike
    "adex": (AdEx(), adex_field, 1000.0, 8.0),
    "izhikevich": (Izhikevich(), izhikevich_field, 4.0, 5.0),
    "izhikevich in two substeps": (Izhikevich(substeps=2), izhikevich_field, 4.0, 5.0),
    "conductance": (ConductanceLIF(), conductance_field, 5.0, 6.0),
}


@pytest.mark.parametrize("name", FIELDS)
def test_euler_converges_with_order_one(name):
    neuron, equations, drive, end = FIELDS[name]
    field, first = equations(neuron, drive)
    want = solve_ivp(field, (0, end), first, rtol=1e-11, atol=1e-11, method="DOP853").y[0, -1]
    errors = []
    for dt in (0.02, 0.01, 0.005):
        u = constant(drive, round(end / dt))
        if name == "conductance":
            u[1:] = 0
        y, s, _ = scan(neuron, u, dt)
        assert y.sum() == 0
        errors.append(abs(s["v"][-1].item() - want))
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:])]
    assert errors[-1] < 0.05
    assert slopes == pytest.approx([1, 1], abs=0.05)


# ---------------------------------------------------------------------------------------------- scan
def noise(mean, sd):
    return mean + sd * torch.randn(120, 2, 3)


SCANS = {
    "lif": (LIF(refractory=3.0), lambda: noise(20.0, 30.0)),
    "lif with synapses": (LIF(refractory=3.0, tau_syn=4.0), lambda: noise(6.0, 4.0)),
    "conductance": (ConductanceLIF(), lambda: noise(2.0, 4.0)),
    "conductance, two drives": (ConductanceLIF(), lambda: (noise(4.0, 1.0), noise(1.0, 0.1))),
    "a threshold that grows": (ConductanceLIF(theta_plus=1.0, tau_theta=80.0), lambda: noise(4.0, 4.0)),
    "adaptive": (AdaptiveLIF(beta=0.1, tau_a=50.0), lambda: noise(0.06, 0.1)),
    "adex": (AdEx(refractory=2.0), lambda: noise(1200.0, 500.0)),
    "izhikevich": (Izhikevich(substeps=2), lambda: noise(15.0, 5.0)),
    "poisson": (Poisson(3), lambda: noise(200.0, 10.0)),
    "rate": (Rate(ThresholdLinear(2.0, 0.1), 10.0), lambda: noise(0.5, 1.0)),
    "rate without tau": (Rate(Sigmoid(2.0)), lambda: noise(0.5, 1.0)),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_in_chunks_is_the_whole(name):
    neuron, drive = SCANS[name]
    u = drive()
    y, states, end = scan(neuron, u, 0.5)
    assert y.sum() > 5
    ys, vs, s = [], [], {}
    for k in (slice(0, 1), slice(1, 50), slice(50, 120)):
        part = tuple(x[k] for x in u) if isinstance(u, tuple) else u[k]
        chunk, run, s = scan(neuron, part, 0.5, s)
        ys.append(chunk)
        vs.append(run["v"])
    assert torch.equal(torch.cat(ys), y) and torch.equal(torch.cat(vs), states["v"])
    assert s.keys() == end.keys() and all(torch.equal(s[n], end[n]) for n in end)


def test_the_two_drives_of_conductances_may_be_one_with_signs():
    u = noise(2.0, 4.0)
    one, two = (scan(ConductanceLIF(), x, 0.5)[1]["v"] for x in (u, (u.clamp(min=0), (-u).clamp(min=0))))
    assert torch.equal(one, two)


# ---------------------------------------------------------------------------------------------- surrogates and credit
def slope(neuron, v):
    v = torch.tensor(v, requires_grad=True)
    y = neuron.out({"v": v, "a": torch.zeros(()), "noise": torch.zeros(())})
    return y.item(), torch.autograd.grad(y, v)[0].item()


@pytest.mark.parametrize(
    "neuron, threshold, unit",
    [
        (LIF(v_reset=-70.0), -50.0, 20.0),  # unit: from rest or reset to threshold
        (ConductanceLIF(), -50.0, 10.0),
        (AdEx(), 0.0, 50.4),
        (Izhikevich(), 30.0, 30.0),
        (AdaptiveLIF(), 0.6, 0.6),
    ],
)
def test_the_surrogate_is_a_triangle_at_the_threshold(neuron, threshold, unit):
    """psi = .3 max(0, 1 - |v - threshold| / unit) / unit; the spike itself is strictly above."""
    for x in (-1.5, -0.5, 1e-9, 0.5, 1.5):
        y, psi = slope(neuron, threshold + x * unit)
        assert y == float(x > 0)
        assert psi == pytest.approx(0.3 * max(0.0, 1 - abs(x)) / unit, rel=1e-6, abs=1e-12)
    assert slope(neuron, threshold)[0] == 0.0


@pytest.mark.parametrize(
    "neuron, scale",
    [
        (LIF(), 40.0),
        (LIF(tau_syn=5.0, refractory=2.0), 15.0),
        (ConductanceLIF(), 10.0),
        (AdEx(), 2000.0),
        (Izhikevich(), 20.0),
        (AdaptiveLIF(beta=0.1), 0.5),
        (Poisson(), 200.0),
    ],
)
def test_credit_reaches_the_weights_of_a_layer(neuron, scale):
    """-dL/dW of a net by play is that of the same net by scan, finite and not 0."""
    layer = Layer(dense(4, 6), neuron)
    net = nn.Sequential(layer, Layer(dense(6, 2)))
    x, target = scale * torch.rand(60, 3, 4), torch.rand(60, 3, 2)
    nn.init.uniform_(layer.input.weight, 0.1, 1.0)
    trial = play(net, Batch(x, target, mse_seq, time=True, dt=0.5))
    spikes = trial.records["0.input"].post
    assert 0 < spikes.sum() < spikes.numel()
    got = torch.autograd.grad(trial.loss.sum(), layer.input.weight, retain_graph=True)[0]
    y, _, _ = scan(neuron, x @ layer.input.weight.T, 0.5)
    want = torch.autograd.grad(mse_seq(y @ net[1].input.weight.T, target).sum(), layer.input.weight)[0]
    assert got.isfinite().all() and (got != 0).all()
    assert torch.allclose(got, want, rtol=1e-9)
    credit = returned(trial)["credit"]["0"]
    assert credit.shape == spikes.shape and credit.isfinite().all() and credit.abs().sum() > 0


# ---------------------------------------------------------------------------------------------- Poisson
def test_poisson_has_its_rate_and_no_memory():
    """Share of steps with a spike within 4 standard errors of p = 1 - exp(-u dt), of pairs of steps and units of p^2."""
    y, s, _ = scan(Poisson(), constant(80.0, 800, 100), 0.5)
    p = -math.expm1(-80 * 0.5 / 1000)
    assert s["v"].unique().item() == pytest.approx(p, rel=1e-14)

    def share(z, q):
        assert z.mean().item() == pytest.approx(q, abs=4 * math.sqrt(q * (1 - q) / z.numel()))

    share(y, p)
    share(y[1:] * y[:-1], p**2)
    share(y[..., 1:] * y[..., :-1], p**2)
    share(y * scan(Poisson(1), constant(80.0, 800, 100), 0.5)[0], p**2)


def test_poisson_repeats_by_seed():
    one, again, other = (scan(Poisson(seed), constant(80.0, 200, 10), 1.0)[0] for seed in (5, 5, 6))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert scan(Poisson(), constant(0.0, 200, 10), 1.0)[0].sum() == 0


# ---------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LIF(tau_m=0.0), "tau_m: given 0.0, it must be positive"),
        (lambda: LIF(tau_m=math.nan), "tau_m: given nan"),
        (lambda: LIF(tau_syn=-1.0), "tau_syn: given -1.0, it must be positive"),
        (lambda: LIF(v_reset=-40.0), "v_reset: given -40.0, it must lie below v_threshold = -50.0"),
        (lambda: LIF(refractory=-1.0), "refractory: given -1.0, it must not be negative"),
        (lambda: ConductanceLIF(C=0.0), "C: given 0.0"),
        (lambda: ConductanceLIF(tau_i=-5.0), "tau_i: given -5.0"),
        (lambda: ConductanceLIF(theta_plus=-1.0), "theta_plus: given -1.0"),
        (lambda: ConductanceLIF(theta=20.0), "theta: given 20.0"),
        (lambda: ConductanceLIF(theta_plus=1.0, theta=-20.0), "must lie below v_threshold . theta = -70.0"),
        (lambda: ConductanceLIF(refractory=-1.0), "refractory: given -1.0"),
        (lambda: AdEx(Delta_T=0.0), "Delta_T: given 0.0"),
        (lambda: AdEx(v_reset=10.0), "v_reset: given 10.0, it must lie below v_peak = 0.0"),
        (lambda: AdEx(refractory=-1.0), "refractory: given -1.0"),
        (lambda: Izhikevich(substeps=0), "substeps: given 0, at least 1"),
        *[
            (lambda n=n, x=x: Izhikevich(**{n: x}), f"{n}: given {x}, it must be a finite number")
            for n, x in (("a", math.nan), ("b", math.inf), ("c", -math.inf), ("d", math.nan))
        ],
        (lambda: AdaptiveLIF(tau_a=0.0), "tau_a: given 0.0"),
        (lambda: Rate(tau=0.0), "tau: given 0.0"),
        (lambda: scan(LIF(), torch.zeros(5), 1.0), r"u: given the shape \[5\], expected \[T, B, N\]"),
        (lambda: scan(LIF(), torch.zeros(0, 1, 1), 1.0), "with at least one step"),
        *[
            (lambda n=n: scan(n, torch.zeros(3, 1, 1)), "dt: given None")
            for n in (LIF(), ConductanceLIF(), AdEx(), Izhikevich(), Poisson(), Rate(tau=5.0))
        ],
    ],
)
def test_bad_input_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("Delta_T", [0.3, 0.5, 1.0])
def test_adex_with_a_sharp_upstroke_stays_a_number_in_float32(Delta_T):
    u = torch.linspace(300.0, 2500.0, 100, dtype=torch.float32).expand(3000, 1, 100)
    y, states, _ = scan(AdEx(Delta_T=Delta_T), u, dt=0.1)
    assert y.isfinite().all() and states["v"].isfinite().all() and y.sum() > 1000


@pytest.mark.parametrize(
    "neuron", [LIF(tau_m=0.02), LIF(tau_syn=0.1), Rate(tau=0.02), AdaptiveLIF(tau_m=0.02), ConductanceLIF(tau_e=0.05)]
)
def test_a_time_constant_given_in_seconds_is_refused(neuron):
    with pytest.raises(ValueError, match="less than the step dt = 1.0 ms: times are in ms"):
        scan(neuron, torch.ones(3, 1, 2), dt=1.0)


@pytest.mark.parametrize("dt", [0.0, -1.0])
def test_a_step_is_positive(dt):
    with pytest.raises(ValueError, match="dt"):
        scan(LIF(), torch.ones(3, 1, 2), dt=dt)


@pytest.mark.parametrize("apart", [0.0, 2e-14, 1e-12, 1e-6, 1e-3, 5.0])
def test_a_current_of_nearly_the_membranes_time_constant_does_not_cancel(apart):
    """v by its series in exact fractions: (exp(-x) - exp(-y)) / (y - x) = sum of (-1)^n/n! times sum of x^k y^(n-1-k)."""
    m, s, t = Fraction(20), Fraction(20) + Fraction(apart), Fraction(31)
    x, y = t / m, t / s
    total, term = Fraction(0), Fraction(1)
    for n in range(1, 40):
        term = term * -1 / n
        total += term * sum(x**k * y ** (n - 1 - k) for k in range(n))
    want = float(-total * t / m)  # of a current 1 at t = 0
    u = torch.zeros(31, 1, 1, dtype=torch.float64)
    u[0] = 1.0
    _, states, _ = scan(LIF(tau_m=20.0, tau_syn=20.0 + apart, v_rest=0.0, v_reset=-1.0, v_threshold=9.0), u, dt=1.0)
    assert abs(states["v"][-1].item() / want - 1) < 1e-11


def test_poisson_noise_goes_on_after_two_to_the_24_steps():
    u = torch.full((1, 4), 50.0, dtype=torch.float32)  # which does not tell 2^24 from 2^24 + 1
    s = Poisson().step({}, u, 1.0) | {"y": torch.zeros_like(u)}
    found = []
    for k in range(3):
        last = {**s, "step": torch.full_like(s["step"], 2**24 + k)}
        found.append(tuple(Poisson().step(last, u, 1.0)["noise"].flatten().tolist()))
    assert len(set(found)) == 3


def test_poisson_noise_is_that_of_its_seed_step_and_unit():
    """Written down from an earlier version, whose counter was a float; and a state that it left goes on."""
    noise = [
        [0.1463432939315894, 0.5139865335868578, 0.7463929079152581],
        [0.9685376966633522, 0.5934949815176198, 0.3003985232568517],
        [0.6739589629103752, 0.9928334945519818, 0.6520438589319026],
    ]
    u = torch.full((3, 1, 3), 400.0, dtype=torch.float64)
    _, states, _ = scan(Poisson(7), u, 1.0)
    assert states["noise"][:, 0].tolist() == noise and states["step"].dtype == torch.int64
    old = {"step": torch.zeros(1, 3, dtype=torch.float64), "y": torch.zeros(1, 3, dtype=torch.float64)}
    assert scan(Poisson(7), u[1:], 1.0, old)[1]["noise"][:, 0].tolist() == noise[1:]

"""What published code computes, under its own names: oracles for ``published.load``, written plainly."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import weight_norm


class SRM(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cfc, self.bn = nn.Parameter(torch.zeros(c, 2)), nn.BatchNorm2d(c)

    def forward(self, x):
        style = torch.stack([x.flatten(2).mean(2), (x.flatten(2).var(2) + 1e-5).sqrt()], dim=2)
        return x * self.bn((style * self.cfc).sum(2)[:, :, None, None]).sigmoid()


class GCT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.alpha, self.gamma, self.beta = (nn.Parameter(torch.ones(1, c, 1, 1)) for _ in range(3))

    def forward(self, x):
        size = (x.pow(2).sum((2, 3), keepdim=True) + 1e-5).sqrt() * self.alpha
        norm = self.gamma / (size.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
        return x * (1 + torch.tanh(size * norm + self.beta))


class FCA(nn.Module):
    def __init__(self, waves, hidden):
        super().__init__()
        c = len(waves)
        self.dct_layer = nn.Module()
        self.dct_layer.register_buffer("weight", waves)
        layers = nn.Linear(c, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, c, bias=False), nn.Sigmoid()
        self.fc = nn.Sequential(*layers)

    def forward(self, x):
        return x * self.fc((x * self.dct_layer.weight).sum((2, 3)))[:, :, None, None]


class Encoding(nn.Module):
    """scale is added, not subtracted: their weights are negative."""

    def __init__(self, c, k):
        super().__init__()
        self.codewords, self.scale = nn.Parameter(torch.zeros(k, c)), nn.Parameter(torch.zeros(k))

    def forward(self, x):
        difference = x.flatten(2).mT[:, :, None] - self.codewords  # b n k c
        weights = (self.scale * difference.square().sum(3)).softmax(2)
        return (weights[..., None] * difference).sum(1)


class Enc(nn.Module):
    def __init__(self, c, k):
        super().__init__()
        first = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()
        self.encoding = nn.Sequential(*first, Encoding(c, k), nn.BatchNorm1d(k), nn.ReLU())
        self.fc, self.selayer = nn.Sequential(nn.Linear(c, c), nn.Sigmoid()), nn.Linear(c, 3)

    def forward(self, x):
        return (x + x * self.fc(self.encoding(x).mean(1))[:, :, None, None]).relu()


class GSoP(nn.Module):
    def __init__(self, c, d, stride):
        super().__init__()
        self.conv_for_DR, self.bn_for_DR = nn.Conv2d(c, d, 1, stride), nn.BatchNorm2d(d)
        self.row_bn, self.row_conv_group = nn.BatchNorm2d(d), nn.Conv2d(d, 4 * d, (d, 1), groups=d)
        self.fc_adapt_channels = nn.Conv2d(4 * d, c, 1)

    def forward(self, x):
        v = self.bn_for_DR(self.conv_for_DR(x.relu())).relu().flatten(2)
        v = v - v.mean(2, keepdim=True)
        rows = self.row_conv_group(self.row_bn((v @ v.mT / v.shape[2])[..., None]))
        return x * self.fc_adapt_channels(rows).sigmoid()


class ReleasedBAM(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.channel_att, self.spatial_att = nn.Module(), nn.Module()
        named = {"fc_0": nn.Linear(c, d), "bn_1": nn.BatchNorm1d(d), "relu_1": nn.ReLU(), "fc_final": nn.Linear(d, c)}
        self.channel_att.gate_c = nn.Sequential()
        for name, layer in named.items():
            self.channel_att.gate_c.add_module(f"gate_c_{name}", layer)
        self.spatial_att.gate_s = gate = nn.Sequential()
        convs = {"reduce0": nn.Conv2d(c, d, 1)}
        convs |= {f"di_{i}": nn.Conv2d(d, d, 3, padding=4, dilation=4) for i in range(2)}
        for name, conv in convs.items():
            gate.add_module(f"gate_s_conv_{name}", conv)
            gate.add_module(f"gate_s_bn_{name}", nn.BatchNorm2d(d))
            gate.add_module(f"gate_s_relu_{name}", nn.ReLU())
        gate.add_module("gate_s_conv_final", nn.Conv2d(d, 1, 1))

    def forward(self, x):
        channel = self.channel_att.gate_c(x.mean((2, 3)))[:, :, None, None]
        return x * (1 + (channel * self.spatial_att.gate_s(x)).sigmoid())


class CAM(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        rows = x.flatten(2)
        energy = rows @ rows.mT
        weights = (energy.amax(2, keepdim=True) - energy).softmax(2)
        return self.gamma * (weights @ rows).view_as(x) + x


class PAM(nn.Module):
    """Every position asks those that ``seen`` lets it see."""

    def __init__(self, c, d):
        super().__init__()
        self.query_conv, self.key_conv = nn.Conv2d(c, d, 1), nn.Conv2d(c, d, 1)
        self.value_conv, self.gamma = nn.Conv2d(c, c, 1), nn.Parameter(torch.zeros(1))

    def seen(self, h, w):
        return torch.ones(h * w, h * w, dtype=torch.bool)

    def forward(self, x):
        energy = self.query_conv(x).flatten(2).mT @ self.key_conv(x).flatten(2)
        weights = energy.masked_fill(~self.seen(*x.shape[2:]), -torch.inf).softmax(2)
        return self.gamma * (self.value_conv(x).flatten(2) @ weights.mT).view_as(x) + x


class CCA(PAM):
    def seen(self, h, w):
        rows, columns = torch.arange(h * w) // w, torch.arange(h * w) % w
        return (rows[:, None] == rows) | (columns[:, None] == columns)


class DA(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.sa, self.sc = PAM(c, d), CAM()

    def forward(self, x):
        return self.sa(x) + self.sc(x)


class PortedNonLocal(nn.Module):
    """The best-known port: keys and values are pooled behind their layers."""

    def __init__(self, c, d, pairing, *, pooled, norm):
        super().__init__()
        self.pairing, self.norm = pairing, norm
        pool = nn.MaxPool2d(2)
        self.theta, self.phi, self.g = (nn.Conv2d(c, d, 1) for _ in range(3))
        if pooled:
            self.phi, self.g = nn.Sequential(self.phi, pool), nn.Sequential(self.g, pool)
        self.W = nn.Sequential(nn.Conv2d(d, c, 1), nn.BatchNorm2d(c)) if norm else nn.Conv2d(d, c, 1)
        if pairing == "concatenation":
            self.concat_project = nn.Sequential(nn.Conv2d(2 * d, 1, 1, bias=False), nn.ReLU())

    def forward(self, x):
        query, key, value = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        if self.pairing == "embedded_gaussian":
            weights = (query.mT @ key).softmax(2)
        elif self.pairing == "dot_product":
            weights = query.mT @ key / key.shape[2]
        else:
            n, m = query.shape[2], key.shape[2]
            both = torch.cat([query[..., None].expand(-1, -1, n, m), key[:, :, None].expand(-1, -1, n, m)], dim=1)
            weights = self.concat_project(both)[:, 0] / m
        return self.W((value @ weights.mT).unflatten(2, x.shape[2:])) + x


class MMNonLocal(nn.Module):
    """mmcv: each layer in a module of its own, logits divided by √d."""

    def __init__(self, c, d):
        super().__init__()
        self.theta, self.phi, self.g, self.conv_out = (nn.Module() for _ in range(4))
        for layer in (self.theta, self.phi, self.g):
            layer.conv = nn.Conv2d(c, d, 1)
        self.conv_out.conv, self.conv_out.bn = nn.Conv2d(d, c, 1), nn.BatchNorm2d(c)

    def forward(self, x):
        query, key, value = (layer.conv(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        weights = (query.mT @ key / query.shape[1] ** 0.5).softmax(2)
        return x + self.conv_out.bn(self.conv_out.conv((value @ weights.mT).unflatten(2, x.shape[2:])))


class MLP(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Conv2d(c, d, 1), nn.LayerNorm(d, eps=1e-6), nn.Conv2d(d, c, 1)

    def forward(self, x):
        return self.fc2(self.norm(self.fc1(x).movedim(1, 3)).movedim(3, 1).relu())


class TimmContext(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.conv_attn, self.mlp_add, self.mlp_scale = nn.Conv2d(c, 1, 1), MLP(c, d), MLP(c, d)

    def forward(self, x):
        weights = self.conv_attn(x).flatten(2).softmax(2)
        context = (x.flatten(2) @ weights.mT)[..., None]
        return x * self.mlp_scale(context).sigmoid() + self.mlp_add(context)


class A2(nn.Module):
    """The port leaves x + … to the network around it."""

    def __init__(self, c, m, n):
        super().__init__()
        self.convA, self.convB, self.convV = nn.Conv2d(c, m, 1), nn.Conv2d(c, n, 1), nn.Conv2d(c, n, 1)
        self.conv_reconstruct = nn.Conv2d(m, c, 1)

    def forward(self, x):
        a, b, v = self.convA(x).flatten(2), self.convB(x).flatten(2).softmax(2), self.convV(x).flatten(2).softmax(1)
        return x + self.conv_reconstruct((a @ b.mT @ v).unflatten(2, x.shape[2:]))


class GloRe(nn.Module):
    def __init__(self, c, n):
        super().__init__()
        self.conv_state, self.conv_proj = nn.Conv2d(c, 2 * n, 1), nn.Conv2d(c, n, 1)
        self.gcn = nn.Module()
        self.gcn.conv1, self.gcn.conv2 = nn.Conv1d(n, n, 1), nn.Conv1d(2 * n, 2 * n, 1, bias=False)
        self.conv_extend, self.blocker = nn.Conv2d(2 * n, c, 1, bias=False), nn.BatchNorm2d(c, eps=1e-4)

    def forward(self, x):
        b = self.conv_proj(x).flatten(2)
        v = self.conv_state(x).flatten(2) @ b.mT
        v = self.gcn.conv2((v + self.gcn.conv1(v.mT).mT).relu())
        return x + self.blocker(self.conv_extend((v @ b).unflatten(2, x.shape[2:])))


class Asymmetric(nn.Module):
    """APNB, whose query is its key, and AFNB."""

    def __init__(self, high, low, d, sizes, *, shared):
        super().__init__()
        self.sizes, self.shared = sizes, shared
        stage = nn.Module()
        norm = [nn.Sequential(nn.BatchNorm2d(d), nn.ReLU()) for _ in range(2)]
        stage.f_key = nn.Sequential(nn.Conv2d(low, d, 1), norm[0])
        stage.f_query = stage.f_key if shared else nn.Sequential(nn.Conv2d(high, d, 1), norm[1])
        stage.f_value, stage.W = nn.Conv2d(low, d, 1), nn.Conv2d(d, high, 1)
        self.stages = nn.ModuleList([stage])
        last = nn.Sequential(nn.BatchNorm2d(high), nn.ReLU()) if shared else nn.BatchNorm2d(high)
        self.conv_bn_dropout = nn.Sequential(nn.Conv2d(2 * high, high, 1), last)

    def forward(self, high, low=None):
        low, stage = high if low is None else low, self.stages[0]

        def cells(x):
            return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in self.sizes], dim=2)

        query, key, value = stage.f_query(high).flatten(2), cells(stage.f_key(low)), cells(stage.f_value(low))
        weights = (query.mT @ key * query.shape[1] ** -0.5).softmax(2)
        context = stage.W((value @ weights.mT).unflatten(2, high.shape[2:]))
        return self.conv_bn_dropout(torch.cat([context, high], dim=1))


class TimmKernels(nn.Module):
    def __init__(self, c, d, groups):
        super().__init__()
        self.paths, self.attn = nn.ModuleList(nn.Module() for _ in range(2)), nn.Module()
        for dilation, path in enumerate(self.paths, start=1):
            path.conv = nn.Conv2d(c, c, 3, padding=dilation, dilation=dilation, groups=groups, bias=False)
            path.bn = nn.BatchNorm2d(c)
        self.attn.fc_reduce, self.attn.bn = nn.Conv2d(c, d, 1, bias=False), nn.BatchNorm2d(d)
        self.attn.fc_select = nn.Conv2d(d, 2 * c, 1, bias=False)

    def forward(self, x):
        u = torch.stack([path.bn(path.conv(x)).relu() for path in self.paths], dim=1)
        z = self.attn.bn(self.attn.fc_reduce(u.sum(1).mean((2, 3), keepdim=True))).relu()
        return (self.attn.fc_select(z).unflatten(1, (2, -1)).softmax(1) * u).sum(1)


class GeneralizedAttention(nn.Module):
    """All four factors; the step that is coded goes from key to query, keys are every r-th row and column."""

    def __init__(self, c, s, r):
        super().__init__()
        self.s, self.thin = s, nn.AvgPool2d(1, r)
        self.r = r
        self.query_conv, self.key_conv, self.value_conv = (nn.Conv2d(c, c, 1, bias=False) for _ in range(3))
        self.appr_geom_fc_x, self.appr_geom_fc_y = (nn.Linear(c // 2, c, bias=False) for _ in range(2))
        self.appr_bias, self.geom_bias = nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))
        self.proj_conv, self.gamma = nn.Conv2d(c, c, 1), nn.Parameter(torch.zeros(1))

    def code(self, length, width):
        place = torch.arange(length).double()
        angle = (place[:, None] - place[:: self.r])[..., None] / 1000 ** (torch.arange(width).double() / width)
        return torch.cat([angle.sin(), angle.cos()], dim=2)

    def forward(self, x):
        b, c, h, w = x.shape
        query, key, value = (
            layer(pixels).flatten(2).unflatten(1, (self.s, -1))
            for layer, pixels in (
                (self.query_conv, x),
                (self.key_conv, self.thin(x)),
                (self.value_conv, self.thin(x)),
            )
        )  # b s d n
        rows = self.appr_geom_fc_y(self.code(h, c // 4)).unflatten(2, (self.s, -1)) / 2**0.5  # q k s d
        columns = self.appr_geom_fc_x(self.code(w, c // 4)).unflatten(2, (self.s, -1)) / 2**0.5
        steps = (rows[:, None, :, None] + columns[None, :, None]).reshape(h * w, -1, self.s, c // self.s)
        look = query + self.appr_bias.view(self.s, -1, 1)
        move = query + self.geom_bias.view(self.s, -1, 1)
        energy = torch.einsum("bsdn,bsdm->bsnm", look, key) + torch.einsum("bsdn,nmsd->bsnm", move, steps)
        read = torch.einsum("bsnm,bsdm->bsdn", energy.softmax(3), value).reshape(b, c, h, w)
        return self.gamma * self.proj_conv(read) + x


class FC(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.main = nn.Sequential(nn.Dropout(0.2), weight_norm(nn.Linear(inputs, outputs), dim=None))

    def forward(self, x):
        return self.main(x)


class BAN(nn.Module):
    def __init__(self, v, q, k, glimpses):
        super().__init__()
        self.v_att, self.w_emb = nn.Module(), nn.Embedding(3, 2)
        self.v_att.logits = logits = nn.Module()
        logits.v_net, logits.q_net = FC(v, 3 * k), FC(q, 3 * k)
        logits.h_mat_g, logits.h_mat_v = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(1, glimpses, 1, 3 * k))
        logits.h_bias = nn.Parameter(torch.ones(1, glimpses, 1, 1))
        self.b_net = nn.ModuleList(nn.Module() for _ in range(glimpses))
        for net in self.b_net:
            net.v_net, net.q_net = FC(v, k), FC(q, k)
        self.q_prj = nn.ModuleList(FC(k, q) for _ in range(glimpses))

    def forward(self, v, q):
        logits = self.v_att.logits
        h = logits.h_mat_g * logits.h_mat_v / logits.h_mat_v.norm()
        score = torch.einsum("xgyk,bvk,bqk->bgvq", h, logits.v_net(v).relu(), logits.q_net(q).relu()) + logits.h_bias
        maps = score.flatten(2).softmax(2).view_as(score)
        for g, net in enumerate(self.b_net):
            f = torch.einsum("bvk,bvq,bqk->bk", net.v_net(v).relu(), maps[:, g], net.q_net(q).relu())
            q = q + self.q_prj[g](f)[:, None]
        return q


class External(nn.Module):
    def __init__(self, c, k):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 1)
        self.linear_0, self.linear_1 = nn.Conv1d(c, k, 1, bias=False), nn.Conv1d(k, c, 1, bias=False)
        self.conv2 = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        weights = self.linear_0(self.conv1(x).flatten(2)).softmax(2)
        read = self.linear_1(weights / (1e-9 + weights.sum(1, keepdim=True)))
        return (self.conv2(read.view_as(x)) + x).relu()


class TimmGather(nn.Module):
    """θ with extent 4: two steps of stride 2."""

    def __init__(self, c):
        super().__init__()
        layers = {f"conv{i}": nn.Conv2d(c, c, 3, 2, 1, groups=c, bias=False) for i in (1, 2)}
        layers |= {f"norm{i}": nn.BatchNorm2d(c) for i in (1, 2)}
        self.gather = nn.Sequential()
        for name in ("conv1", "norm1", "act1", "conv2", "norm2"):
            self.gather.add_module(name, layers.get(name, nn.ReLU()))

    def forward(self, x):
        return x * F.interpolate(self.gather(x), size=x.shape[2:]).sigmoid()

"""Model training: train.py WORK --steps N --decay M. Two processes of one thread each, gradients averaged; float32.

Muon (orthogonalised momentum, Jordan 2024) for the matrices of the blocks, Adam for the embedding and the norms.
The rate is constant, then falls linearly over the last M steps. WORK/state.pt is a restart point.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

import model as demo

TOKENS = 2048  # per process and step, padding included


def batches(data, seed, rank):
    """Endless padded batches: a shuffled pool of 2,048 texts, sorted by length, cut by token count, shuffled again."""
    starts, ids, weights = data["starts"], data["ids"], data["weights"]
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(starts) - 1)
        for at in range(0, len(order), 2048):
            pool = sorted(order[at:at + 2048].tolist(), key=lambda i: int(starts[i + 1] - starts[i]))
            cuts, row = [], []
            for i in pool:
                row.append(i)
                if len(row) * (starts[i + 1] - starts[i]) >= TOKENS:
                    cuts.append(row)
                    row = []
            order2 = rng.permutation(len(cuts) // 2 * 2)
            for b in order2[rank::2]:
                rows = cuts[b]
                width = max(int(starts[i + 1] - starts[i]) for i in rows)
                x = np.zeros((len(rows), width), np.int64)
                w = np.zeros((len(rows), width), np.float32)
                for r, i in enumerate(rows):
                    n = int(starts[i + 1] - starts[i])
                    x[r, :n] = ids[starts[i]:starts[i + 1]]
                    w[r, :n] = weights[starts[i]:starts[i + 1]]
                yield torch.from_numpy(x), torch.from_numpy(w[:, 1:])


def orthogonalise(g):
    """Newton-Schulz iteration of Muon on [n, rows, columns]."""
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    turned = x.shape[1] > x.shape[2]
    if turned:
        x = x.transpose(1, 2)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(1, 2) if turned else x


def rate(step, total, decay):
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (total - step) / decay))


def run(rank, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=2)
    torch.manual_seed(7)
    net = demo.Gemma2()
    data = {k: v for k, v in np.load(f"{args.work}/train.npz").items()}
    matrices = [p for n, p in net.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in net.named_parameters() if not (p.dim() == 2 and "embed" not in n)]
    parameters = matrices + others
    momenta = [torch.zeros_like(p) for p in matrices]
    adam = torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    step, tokens, spent = 0, 0, 0.0
    state_file = f"{args.work}/state.pt"
    if os.path.exists(state_file):
        s = torch.load(state_file)
        net.load_state_dict(s["model"])
        momenta = s["momenta"]
        adam.load_state_dict(s["adam"])
        step, tokens, spent = s["step"], s["tokens"], s["spent"]
    source = batches(data, 21, rank)
    for _ in range(step):
        next(source)
    start = time.time()
    net.train()
    while step < args.steps:
        x, w = next(source)
        logits = net.logits(net(x[:, :-1]))
        ce = F.cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten(), reduction="none").view(w.shape)
        loss = (ce * w).sum() / w.sum()
        loss.backward()
        flat = torch.cat([p.grad.flatten() for p in parameters] + [torch.stack([
            (ce.detach() * (w == 1)).sum() / (w == 1).sum().clamp(min=1), loss.detach(), torch.tensor(float((w > 0).sum()))])])
        dist.all_reduce(flat)
        flat[:-1] /= 2
        flat[:-3] *= (1.0 / flat[:-3].norm()).clamp(max=1.0)
        at = 0
        for p in parameters:
            p.grad.copy_(flat[at:at + p.numel()].view_as(p))
            at += p.numel()
        scale = rate(step, args.steps, args.decay)
        # Each process orthogonalises half of the matrices of each shape; the sum of both halves is the update.
        shapes = {}
        for i, p in enumerate(matrices):
            shapes.setdefault(tuple(p.shape), []).append(i)
        update = [None] * len(matrices)
        for shape, members in shapes.items():
            for i in members:
                momenta[i].lerp_(matrices[i].grad, 0.05)
            mine = members[rank::2]
            for i in members:
                update[i] = torch.zeros(shape)
            if mine:
                done = orthogonalise(torch.stack([matrices[i].grad.lerp(momenta[i], 0.95) for i in mine]))
                for j, i in enumerate(mine):
                    update[i] = done[j]
        whole = torch.cat([u.flatten() for u in update])
        dist.all_reduce(whole)
        at = 0
        with torch.no_grad():
            for p in matrices:
                u = whole[at:at + p.numel()].view_as(p)
                at += p.numel()
                p.mul_(1 - 0.02 * scale * 0.05).sub_(u, alpha=0.02 * scale * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        for group in adam.param_groups:
            group["lr"] = 3e-3 * scale
        adam.step()
        for p in parameters:
            p.grad = None
        step += 1
        tokens += int(flat[-1])
        if rank == 0 and step % 10 == 0:
            t = time.time() - start + spent
            print(f"step {step} loss {flat[-2]:.4f} completion {flat[-3]:.4f} tokens {tokens} seconds {t:.0f} tok/s {tokens / t:.0f}", flush=True)
        if rank == 0 and (step % 100 == 0 or step == args.steps):
            torch.save({"model": net.state_dict(), "momenta": momenta, "adam": adam.state_dict(), "step": step, "tokens": tokens,
                        "spent": time.time() - start + spent}, state_file + ".new")
            os.replace(state_file + ".new", state_file)
            demo.save(net, f"{args.work}/checkpoint")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--decay", type=int, required=True, help="the last steps, over which the rate falls to 0")
    parser.add_argument("--port", type=int, default=29511)
    mp.spawn(run, (parser.parse_args(),), nprocs=2)

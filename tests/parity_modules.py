"""Our modules on the module and stage vectors of the public networks: {array name: what ours gives}.

Every function takes the arrays that are there and answers those whose inputs are among them, so the same code
serves the small share in the repository and the whole set.
"""

import torch

from dpm_cli.network.activation import confidence_exp, points_exp, points_inv_log
from dpm_cli.network.rope import grid_table, rope_table, rotate
from dpm_cli.network.vggt.dense_head import position_code

CPU = torch.device("cpu")


class Answers(dict):
    """Collects ours[name] for the names that the reference has."""

    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays

    def have(self, *names):
        return all(name in self.arrays for name in names)

    def get_tensor(self, name):
        return torch.from_numpy(self.arrays[name])

    def put(self, name, value):
        if name in self.arrays:
            self[name] = value.detach().numpy()


def shared_modules(out):
    for d in (32, 64, 128):
        if out.have(f"rope_d{d}.q"):
            table = rope_table(out.get_tensor(f"rope_d{d}.pos"), d)
            out.put(f"rope_d{d}.out", rotate(out.get_tensor(f"rope_d{d}.q"), table))


def dust3r_modules(net, arrays):
    out = Answers(arrays)
    shared_modules(out)
    grid = (4, 6)
    enc_rope, dec_rope = grid_table(grid, 64, CPU), grid_table(grid, 32, CPU)
    enc, dec = net.enc_blocks[0], net.dec_blocks[0]
    for suffix in ("", "_small"):
        if out.have(f"enc_block{suffix}.x"):
            x = out.get_tensor(f"enc_block{suffix}.x")
            out.put(f"enc_block{suffix}.attn", enc.attn(enc.norm1(x), enc_rope))
            out.put(f"enc_block{suffix}.out", enc(x, enc_rope))
        if out.have(f"dec_block{suffix}.x"):
            x, y = out.get_tensor(f"dec_block{suffix}.x"), out.get_tensor(f"dec_block{suffix}.y")
            out.put(f"dec_block{suffix}.self_attn", dec.attn(dec.norm1(x), dec_rope))
            cross = dec.cross_attn(dec.norm2(x), dec.norm_y(y), dec_rope)
            out.put(f"dec_block{suffix}.cross_attn", cross)
            out.put(f"dec_block{suffix}.out", dec(x, y, dec_rope))
    for name, norm in (("enc_norm_small", net.enc_norm), ("dec_norm_small", net.dec_norm)):
        if out.have(f"{name}.x"):
            out.put(f"{name}.out", norm(out.get_tensor(f"{name}.x")))
    head = net.heads["p11"]
    if out.have("dpt.tokens0"):
        tokens = [out.get_tensor(f"dpt.tokens{i}") for i in range(4)]
        levels = head.pyramid(tokens, (5, 7))
        out.put("dpt.layer4_rn", levels[3])
        out.put("dpt.refinenet4", head.scratch["refinenet4"](levels[3], None, (6, 8)))
        out.put("dpt.raw", head(tokens, (5, 7)))
    if out.have("residual_unit.x"):
        unit = head.scratch["refinenet1"].resConfUnit2
        out.put("residual_unit.out", unit(out.get_tensor("residual_unit.x")))
    put_activation(out, points_exp)
    return out


def put_activation(out, points):
    if out.have("post.raw"):
        raw = out.get_tensor("post.raw")
        out.put("post.pts3d", points(raw[:, :3]))
        out.put("post.conf", confidence_exp(raw[:, 3]))


def vdpm_modules(net, arrays):
    out = Answers(arrays)
    shared_modules(out)
    aggregator, vit = net.aggregator, net.aggregator.patch_embed
    for name in [n for n in arrays if n.startswith("pos_embed.")]:
        rows, columns = map(int, name.split(".")[1].split("x"))
        out.put(name, vit.positions((rows, columns)))
    one, two = (grid_table((4, 6), 64, CPU, first=1, special=6, repeat=n) for n in (1, 2))
    blocks = (
        ("vit_block", vit.blocks[0], None),
        ("frame_block", aggregator.frame_blocks[0], one),
        ("global_block", aggregator.global_blocks[0], two),
    )
    for name, block, rope in blocks:
        for suffix in ("", "_small"):
            if out.have(f"{name}{suffix}.x"):
                out.put(f"{name}{suffix}.out", block(out.get_tensor(f"{name}{suffix}.x"), rope))
    for name, norm in (("vit_norm_small", vit.norm), ("dpt_norm_small", net.point_head.norm)):
        if out.have(f"{name}.x"):
            out.put(f"{name}.out", norm(out.get_tensor(f"{name}.x")))
    put_decoder_blocks(out, net)
    for suffix in ("", "_small"):
        if out.have(f"camera_head{suffix}.tokens"):
            encodings = net.camera_head(out.get_tensor(f"camera_head{suffix}.tokens")[None])
            out.put(f"camera_head{suffix}.pose_enc", torch.cat(encodings))
    put_dense_head(out, net.point_head)
    put_activation(out, points_inv_log)
    return out


def put_decoder_blocks(out, net):
    wide_one, wide_two = (
        grid_table((4, 6), 128, CPU, first=1, special=6, repeat=n) for n in (1, 2)
    )
    frame, across = net.decoder.frame_blocks[0][0], net.decoder.global_blocks[0][0]
    for suffix in ("", "_small"):
        if out.have(f"adaln_frame{suffix}.x"):
            condition = out.get_tensor(f"adaln_frame{suffix}.cond")
            for name, value in zip(
                ("shift", "scale", "gate"), frame.modulation(condition), strict=True
            ):
                out.put(f"adaln_frame{suffix}.{name}", value)
            x = out.get_tensor(f"adaln_frame{suffix}.x")
            out.put(f"adaln_frame{suffix}.out", frame(x, condition[:, None], wide_one))
    if out.have("adaln_global.x"):
        per_token = out.get_tensor("adaln_global.cond").repeat_interleave(30, 0)[None]
        out.put("adaln_global.out", across(out.get_tensor("adaln_global.x"), per_token, wide_two))


def put_dense_head(out, head):
    for name in [n for n in out.arrays if n.startswith("uv_embed.")]:
        image, channels, cells = name.split(".")[1].split("_")
        height, width = map(int, image.split("x"))
        rows, columns = map(int, cells.split("x"))
        out.put(name, position_code(int(channels[1:]), (rows, columns), (height, width), CPU))
    if out.have("dpt.tokens0"):
        tokens, grid = [out.get_tensor(f"dpt.tokens{i}") for i in range(4)], (4, 6)
        out.put(
            "dpt.projects0",
            head.projects[0](head.norm(tokens[0]).transpose(1, 2).unflatten(2, grid)),
        )
        fused = head.refine(head.pyramid(tokens, grid))
        out.put("dpt.refinenet4", fused[0])
        out.put("dpt.refinenet3", fused[1])
        out.put("dpt.raw", head(tokens, grid))
    if out.have("residual_unit.x"):
        unit = head.scratch["refinenet1"].resConfUnit2
        out.put("residual_unit.out", unit(out.get_tensor("residual_unit.x")))


def dust3r_stages(net, arrays, images):
    """`images` (2, 3, H, W) in [0, 1]."""
    out = Answers(arrays)
    x = net.patch_embed(2 * images - 1)
    out.put("patch_tokens", x)
    for i, block in enumerate(net.enc_blocks):
        x = block(x, grid_table((4, 6), 64, CPU))
        out.put(f"enc_block_{i}", x)
    tokens = net.encode(images)
    out.put("enc_out", tokens.flatten(1, 2))
    views = net.streams(tokens[:1], tokens[1:])
    for k, layers in enumerate(views, start=1):
        out.put(f"decoder_embed_{k}", net.decoder_embed(layers[0]))
        for i, layer in enumerate(layers[1:-1]):
            out.put(f"dec{k}_block_{i}", layer)
        out.put(f"dec_norm_{k}", layers[-1])
        head = net.heads[f"p{k}{k}"]
        out.put(f"raw{k}", head([layers[hook] for hook in net.config.hooks], (4, 6)))
    x1, x2 = (net.decoder_embed(layers[0]) for layers in views)
    rope = grid_table((4, 6), 32, CPU)
    for block_1, block_2 in zip(net.dec_blocks, net.dec_blocks2, strict=True):
        x1, x2 = block_1(x1, x2, rope), block_2(x2, x1, rope)
    out.put("dec1_block_11", x1)
    out.put("dec2_block_11", x2)
    return out


def vdpm_stages(net, arrays, images):
    """`images` (S, 3, H, W) in [0, 1]."""
    out = Answers(arrays)
    aggregator = net.aggregator
    patches = net.encode(images)
    out.put("vit_tokens", patches.flatten(1, 2))
    x = aggregator.with_special_tokens(patches[None])
    out.put("tokens_in", x[0])
    one, window = aggregator.ropes((4, 6), len(images), CPU)
    x = aggregator.frame_blocks[0](x[0], one)
    out.put("frame_block_0", x)
    out.put(
        "global_block_0",
        aggregator.global_blocks[0](x.flatten(0, 1)[None], window)[0].unflatten(0, (2, -1)),
    )
    tokens = net.aggregate(patches[None])
    for layer, value in zip(net.config.hooks, tokens.layers, strict=True):
        out.put(f"agg_{layer}", value[0])
    out.put("pose_enc_iters", torch.cat(net.cameras(tokens)))
    decoded = net.at_time(tokens, 1)
    out.put("decoded_t1", torch.cat(decoded))
    out.put("raw_t1", net.dense(net.point_head, decoded, tokens.grid))
    return out

"""Weight files that must be refused: damaged, renamed, lying, malicious; always exit code 4 and one line."""

import os
import pickle
import zipfile

import pytest
import torch
from network_helpers import perturb, public_state, tiny_multi_view, tiny_pair
from safetensors.torch import save_file
from test_weights_load import MODEL, WIDE, same_answer, save_pth

from dpm_cli.errors import WeightsError
from dpm_cli.network.large import PairNetwork
from dpm_cli.weights.checkpoint import read_checkpoint, save_checkpoint
from dpm_cli.weights.inspect import describe
from dpm_cli.weights.load import load_multi_view_network, load_pair_network


@pytest.fixture(scope="module")
def static():
    return perturb(PairNetwork(WIDE))


def refused(path, match, load=load_pair_network):
    with pytest.raises(WeightsError, match=match) as caught:
        load(read_checkpoint(path))
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_and_unexpected_and_misshapen_tensors_are_named(tmp_path, static):
    state = public_state(static)
    del state["enc_norm.weight"]
    torch.save(state, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"1 missing \(enc_norm.weight\)")
    torch.save(public_state(static) | {"extra.weight": torch.zeros(1)}, tmp_path / "b.pt")
    refused(tmp_path / "b.pt", r"1 unexpected \(extra.weight\)")
    torch.save(public_state(static) | {"dec_norm.bias": torch.zeros(3)}, tmp_path / "c.pt")
    refused(tmp_path / "c.pt", r"dec_norm.bias \(3,\) instead of \(64,\)")


@pytest.mark.parametrize(
    "name", ["patch_embed.proj.weight", "decoder_embed.weight", "enc_norm.bias"]
)
def test_any_missing_tensor_is_one_line(tmp_path, static, name):
    torch.save({k: v for k, v in public_state(static).items() if k != name}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", rf"1 missing \({name}\)")
    torch.save(public_state(static) | {name: torch.tensor(1.0)}, tmp_path / "b.pt")
    refused(tmp_path / "b.pt", "do not describe a network|wrong shape")


def test_vdpm_with_a_missing_tensor_or_a_hostile_config(tmp_path):
    state = tiny_multi_view().state_dict()
    torch.save({k: v for k, v in state.items() if "pos_embed" not in k}, tmp_path / "a.pt")
    refused(
        tmp_path / "a.pt",
        r"1 missing \(aggregator.patch_embed.pos_embed\)",
        load_multi_view_network,
    )
    save_file(state, tmp_path / "b.safetensors")
    for hostile in (
        '{"intermediate_layer_idx": 5}',
        '{"vit_heads": 0}',
        "[1]",
        '{"intermediate_layer_idx": [1, "a"]}',
    ):
        (tmp_path / "config.json").write_text(hostile)
        refused(tmp_path / "b.safetensors", "do not describe a network", load_multi_view_network)
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path / "b.safetensors", "damaged", load_multi_view_network)


@pytest.mark.parametrize("keep", [0, 5, 200, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_truncated_files(tmp_path, static, suffix, keep):
    path = tmp_path / f"cut.{suffix}"
    if suffix == "pth":
        save_pth(path, static)
    else:
        save_file(public_state(static, aliases=False), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    refused(path, "damaged|neither")


def test_wrong_and_renamed_files(tmp_path, static):
    (tmp_path / "text.pth").write_text("not weights at all, whatever the name says")
    refused(tmp_path / "text.pth", "neither a safetensors nor a PyTorch file")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a.txt", "hello")
    refused(tmp_path / "zip.pt", "damaged")
    torch.save([1, 2], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "holds a list")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "not weights of a known network")
    torch.save(tiny_multi_view().state_dict(), tmp_path / "dust3r.pth")
    refused(tmp_path / "dust3r.pth", "holds V-DPM, not a pair network")
    save_pth(tmp_path / "vdpm.pt", static)
    refused(tmp_path / "vdpm.pt", "holds DUSt3R or MonST3R", load_multi_view_network)
    refused(tmp_path / "absent.pt", "no such weights file")
    # A safetensors file under a .pth name is what it is, not what it is called.
    save_file(public_state(static, aliases=False), tmp_path / "named.pth")
    assert same_answer(load_pair_network(read_checkpoint(tmp_path / "named.pth")), static)


class Attack:
    """Runs a command when unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_malicious_files_run_nothing(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"model": {"a": torch.zeros(1)}, "args": Attack(mark)}, tmp_path / "zip.pth")
    refused(tmp_path / "zip.pth", "refused: the file asks for more than tensors")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Attack(mark), protocol=2))
    refused(tmp_path / "raw.pth", "refused|damaged")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ("__import__('os').system('touch MARK') or Net(a=1)", "not a plain constructor call"),
        (
            "Net(enc_num_heads=__import__('os').system('touch MARK'))",
            "not a plain constructor call",
        ),
        ("Net(" * 400 + ")" * 400, "not a plain constructor call"),
        (MODEL.replace("RoPE100", "cosine"), "pos_embed='cosine'"),
        (MODEL.replace("depth_mode=('exp'", "depth_mode=('linear'"), "depth_mode='linear'"),
        (MODEL.replace("enc_num_heads=4", "enc_num_heads=7"), "7 attention heads do not fit"),
    ],
)
def test_stored_arguments_are_parsed_never_run(tmp_path, static, monkeypatch, model, match):
    monkeypatch.chdir(tmp_path)
    save_pth(tmp_path / "a.pth", static, model=model)
    with pytest.raises(WeightsError, match=match):
        load_pair_network(read_checkpoint(tmp_path / "a.pth"))
    assert not (tmp_path / "MARK").exists()


def test_own_file_with_an_unreadable_config(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"dpm_network": "pair"})
    refused(tmp_path / "a.safetensors", "config cannot be read")
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors", metadata={"dpm_network": "future"})
    refused(tmp_path / "b.safetensors", "unknown kind")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"enc_depth": 10**9}, "config cannot be read"),
        ({"enc_depth": "many"}, "config cannot be read"),
        ({"hooks": [0, 2, 3, 99]}, "config cannot be read"),
        ({"surprise": 1}, "config cannot be read"),
        ({"enc_heads": 0}, "does not describe a network"),
        ({"enc_width": 2**62}, "does not describe a network|does not fit"),
        ({"enc_width": 128}, "wrong shape"),
    ],
)
def test_own_file_whose_config_lies(tmp_path, change, match):
    network = tiny_pair()
    config = network.config.as_dict() | change
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, network.state_dict(), network="pair", config=config, licence="x")
    refused(path, match)


def test_relatives_are_recognised_and_refused_by_name(tmp_path, static):
    third = {k.replace("head2", "head3"): v for k, v in public_state(static).items()}
    torch.save(public_state(static) | third, tmp_path / "pomato.pt")
    refused(tmp_path / "pomato.pt", "POMATO")
    local = {"downstream_head1.head_local_features.fc1.weight": torch.zeros(1)}
    torch.save(public_state(static) | local, tmp_path / "mast3r.pt")
    refused(tmp_path / "mast3r.pt", "MASt3R")
    assert describe(tmp_path / "mast3r.pt")["predictor"] is None

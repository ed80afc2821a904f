"""Which vision tower for nano? The same views, the same processor time, then a linear probe.

Run from the repository root: ``python -m benchmarks.tower_choice`` (about 9 minutes on 2 cores).
Each tower learns the generic pretext of the nano recipe for SECONDS of one core, counted by the
processor, so that other load takes nothing from any of them; a logistic regression on its
frozen features then tells bona fide from forged faces of held-out identities. Last line: one
JSON object {tower: {"parameters", "views", "DF-D AUC", "DF-C accuracy"}}.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, FocalNetConfig, FocalNetModel

from dfa_lib.gpt.faceconv import FaceConvConfig, FaceConvModel
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from tools.nano import pool
from tools.nano.tower import Pretext, mini_batches

SECONDS, VIEWS, FACES, BATCH, PEAK = 120, 8_000, 1_500, 8, 1e-3
WIDTH = 192


class Tokens(nn.Module):
    """A stock vision model as the pretext wants it: patch tokens of WIDTH, no class token."""

    def __init__(self, model: nn.Module, first: int) -> None:
        super().__init__()
        self.model, self.first, self.config = model, first, model.config
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, pixel_values: torch.Tensor) -> "Tokens":
        """(B, 3, 128, 128) to an object with last_hidden_state (B, 64, WIDTH)."""
        hidden = self.model(pixel_values, output_hidden_states=True).hidden_states[-1]
        self.last_hidden_state = self.norm(hidden[:, self.first :])
        return self


def towers() -> dict[str, nn.Module]:
    """The candidates, all about a million parameters and 64 tokens."""
    vit = CLIPVisionConfig(
        image_size=128, patch_size=16, hidden_size=WIDTH, intermediate_size=2 * WIDTH,
        num_hidden_layers=4, num_attention_heads=6,
    )  # fmt: skip
    focal = FocalNetConfig(
        image_size=128, patch_size=4, embed_dim=48, use_conv_embed=True,
        hidden_sizes=[48, 96, WIDTH], hidden_size=WIDTH, depths=[1, 2, 3],
        focal_levels=[1, 2, 2], focal_windows=[3, 3, 3],
        mlp_ratio=2.0, drop_path_rate=0.0,
    )  # fmt: skip
    return {
        "CLIP ViT (stock)": Tokens(CLIPVisionModel(vit), first=1),
        "FocalNet (stock)": Tokens(FocalNetModel(focal, add_pooling_layer=False), first=0),
        "seven convolutions": FaceConvModel(FaceConvConfig()),
    }


def train(tower: nn.Module, seen: list) -> int:
    """Pretext training for SECONDS; return how many views were used."""
    model = Pretext(tower).to(memory_format=torch.channels_last)
    begin, used = time.process_time(), 0
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.01)
    for indices, mirror in mini_batches(len(seen), BATCH, 10**9, seed=0):
        done = (time.process_time() - begin) / SECONDS
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = PEAK * min(1.0, done / 0.05) * (1 - done)
        views = [seen[i][0].mirrored() if mirror else seen[i][0] for i in indices]
        loss = model.loss(views)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        used += len(views)
    return used


@torch.no_grad()
def features(tower: nn.Module, faces: FaceSet) -> np.ndarray:
    """Mean and maximum of the tokens: (N, 2 WIDTH)."""
    rows = []
    for face in faces:
        image = torch.from_numpy(faces.image(face)).permute(2, 0, 1)[None].float() / 127.5 - 1
        tokens = tower(image).last_hidden_state[0]
        rows.append(torch.cat([tokens.mean(0), tokens.amax(0)]).numpy())
    return np.stack(rows)


def probe(tower: nn.Module, faces: FaceSet) -> dict[str, float]:
    """Logistic regression, fitted on training identities and scored on test identities."""
    tower.eval()
    known, new = (features(tower, faces.split(part)) for part in ("train", "test"))
    labels, truth = (np.array([f.category for f in faces.split(p)]) for p in ("train", "test"))
    fit = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit
    score = fit(known, labels != "bona fide").decision_function(new)
    auc = roc_auc_score(truth != "bona fide", score)
    accuracy = (fit(known, labels).predict(new) == truth).mean()
    return {"DF-D AUC": round(float(auc), 3), "DF-C accuracy": round(float(accuracy), 3)}


def main() -> None:
    """Train and probe every candidate; print a table and one line of JSON."""
    torch.set_num_threads(1)
    seen = pool.make_views(pool.generated(500, seed=1), [], VIEWS, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        faces = load_faces("procedural", Path(folder), n=FACES, seed=1)
        table = {}
        for name, tower in towers().items():
            torch.manual_seed(0)
            views = train(tower, seen)
            parameters = sum(weight.numel() for weight in tower.parameters())
            table[name] = {"parameters": parameters, "views": views} | probe(tower, faces)
            print(
                f"{name:<20}", *(f"{k} {v:,}" for k, v in table[name].items()), sep="  ", flush=True
            )
    print(json.dumps(table))


if __name__ == "__main__":
    main()

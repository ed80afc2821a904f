"""The model card of the nano base, written beside its weights."""

from pathlib import Path

from transformers import LlavaForConditionalGeneration

_CARD = """# Nano base

A LLaVA of {parameters:.1f} million parameters for teaching: it runs on a CPU, fits a lecture and
knows a small world. **It is not a deepfake detector for real use.** Its verdicts about people
outside the data named here mean nothing.

| part | class | parameters |
|---|---|---|
| vision tower, 128 x 128 px to 64 tokens | ours, ten convolutions | {tower:.2f} M |
| projector | LLaVA's two-layer MLP | {projector:.2f} M |
| language model, 3 layers of 128 | Llama | {language:.2f} M |

## What it has seen
- Modelled people who do not exist, from the sample world{photographs}.
- {views:,} views of them: each altered in none to five generic ways (blur, smoothing, tint,
  light, noise, compression, shift, distortion, grid, self-blending) inside a random mask, taken
  by the camera that DFA-Instruct uses and, every second one, under everyday conditions (dark,
  bright, flat, tinted, grey, soft, noisy, compressed, tilted), which count as no alteration.
- Stage one, {tower_steps:,} steps of {tower_batch}: the tower says for each cell which alteration
  it shows and which facial region it is. Stage two, {language_steps:,} steps of {language_batch}:
  the language model answers generic questions ("Does the nose look natural?").
- Never a forgery operator, a forgery label, or a question whether a face is bona fide.

## What it has not seen
Any face outside those sets, any real deepfake, any language but English, any text but a few
hundred templates. Groups are represented as unevenly as in the London Set: 69 of 102 white.

## Rebuild
`python -m tools.nano --london FOLDER`
"""


_LONDON = """, and the photographs of the training
  identities of the Face Research Lab London Set (DeBruine and Jones, CC BY 4.0). The test and
  validation identities of that set stayed out"""


def write_card(
    out: Path, model: LlavaForConditionalGeneration, photographs: bool, **facts: object
) -> None:
    """Write MODEL_CARD.md; ``facts`` say how much of what the base has seen."""
    parts = {
        "tower": model.model.vision_tower,
        "projector": model.model.multi_modal_projector,
        "language": model.model.language_model,
    }
    counts = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in parts.items()}
    facts |= {"parameters": sum(counts.values()), "photographs": _LONDON if photographs else ""}
    (out / "MODEL_CARD.md").write_text(_CARD.format(**counts, **facts), encoding="utf-8")

"""An auxiliary loss for tuning a vision encoder: its features alone have to name the category.

In an answer to DF-C a few tokens in a dozen depend on the picture, so that text teaches an
encoder slowly. A linear layer on its pooled features teaches it directly (deep supervision, as
in GoogLeNet); the layer is not kept, and all answers still come from the language model.
"""

from torch import Tensor, nn

from dfa_lib.gpt.forward import Pictures, PrefixLoss, core, pooled
from dfa_lib.gpt.trees import Packed
from dfa_lib.taxonomy import CLASSES


class NamingLoss(PrefixLoss):
    """The training loss of packed trees, whose gradient has ``weight`` times the auxiliary one."""

    def __init__(self, model: nn.Module, shared: bool, weight: float) -> None:
        super().__init__(model, shared)
        self.weight = weight
        self.layer = nn.Linear(2 * core(model).config.vision_config.hidden_size, len(CLASSES))
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)  # nothing of it hangs on chance, so that runs repeat

    def forward(
        self,
        pictures: Pictures,
        packed: Packed,
        check: bool = False,
        named: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return what PrefixLoss returns.

        ``named``: of each image the index of its category in CLASSES (-100: unknown) and its
        share of the batch, both (I,). Without it there is no auxiliary loss.
        """
        if named is None:
            return super().forward(pictures, packed, check)
        seen: list[Tensor] = []
        encoder = core(self.model).model.get_encoder("image")
        with encoder.register_forward_hook(lambda *given: seen.append(given[-1][0])):
            loss = super().forward(pictures, packed, check)
        kinds, shares = named
        tokens = seen[0].reshape(len(kinds), -1, seen[0].shape[-1])
        named_so = self.layer(pooled(tokens).to(self.layer.weight.dtype))
        wrong = nn.functional.cross_entropy(named_so, kinds, reduction="none")
        extra = self.weight * (shares * wrong).sum()
        return loss + extra - extra.detach()  # the value stays that of the answers, for the log

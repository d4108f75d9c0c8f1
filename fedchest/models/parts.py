"""What a network can be asked beside its logits, each a small module on the encoder's summary of the image."""

from torch import Tensor, nn

PROTOTYPE_TEMPERATURE = 0.2
CLUSTERS = 32
QUARTER_TURNS = 4


class Clusters(nn.Module):
    """How near an embedding is to each of `count` learnable centres on the unit sphere."""

    def __init__(self, width: int, count: int = CLUSTERS) -> None:
        super().__init__()
        self.centres = nn.Linear(width, count, bias=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Unit-length embeddings float32[N,D] to cosines float32[N,K] in [-1,1]."""
        # The centres' length is a constant of the step, so that each row's gradient stays a leaf layer's.
        lengths = self.centres.weight.detach().norm(dim=1).clamp(min=1e-6)
        cosines: Tensor = self.centres(embedding) / lengths
        return cosines


class Prototypes(nn.Module):
    """A positive and a negative centre a label: the nearer an embedding is to the positive one, the higher the logit.

    The proxies of Proxy-NCA (Movshovitz-Attias et al. 2017), a pair for each label.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.pairs = Clusters(width, 2 * labels)

    def forward(self, embedding: Tensor) -> Tensor:
        """Unit-length embeddings float32[N,D] to logits float32[N,L]."""
        cosines: Tensor = self.pairs(embedding)
        return (cosines[:, 0::2] - cosines[:, 1::2]) / PROTOTYPE_TEMPERATURE


def projector(width: int, embedding: int) -> nn.Sequential:
    """From the summary float32[N,width] to the projection float32[N,embedding], without statistics of the batch."""
    return nn.Sequential(nn.Linear(width, embedding), nn.LayerNorm(embedding))


def predictor(embedding: int) -> nn.Sequential:
    """From a projection to what another view's is expected to be, float32[N,embedding] (Grill et al. 2020)."""
    return nn.Sequential(
        nn.Linear(embedding, embedding),
        nn.LayerNorm(embedding),
        nn.ReLU(),
        nn.Linear(embedding, embedding),
    )

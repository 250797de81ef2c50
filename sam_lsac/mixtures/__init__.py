"""Mixtures of two real recordings: what the models separate, and what the claims are judged on.

Three tiers, as in the paper [1]_:

=======  ================================================================================================
clean    two speakers of opposite sex, with a random level difference
noisy    the same pairs with white noise at 5 dB SNR; the noise belongs to the residual
env      across domains: speech with an everyday sound, or two everyday sounds
=======  ================================================================================================

The library brings 48 mixtures of each tier for the claims and 8 of each, from other recordings, for calibration. A
folder of a user's own stems, LibriSpeech, ESC-50 and FSD50K are read through the same function.

References
----------
.. [1] "Inside the Latent Flow: Causal Deciphering of Attention Dynamics in Audio Separation Foundation Models",
   experimental setup.
"""

from sam_lsac.mixtures.load import load_mixtures
from sam_lsac.mixtures.mixture import Mixture

__all__ = ["Mixture", "load_mixtures"]

"""MPEG's codecs, G-PCC, V-PCC and V-DMC: they run the reference programs, which are not part of gcbench."""

from gcbench.codecs.mpeg.programs import PCC_APP_DECODER, PCC_APP_ENCODER, TMC3

__all__ = ["PCC_APP_DECODER", "PCC_APP_ENCODER", "TMC3"]

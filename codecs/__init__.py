"""The codec interface, the registry of codecs, and one module or folder for each codec."""

from gcbench.codecs.base import Availability, Codec, Context, ModelCodec, Rate, SetCodec, StreamLayout
from gcbench.codecs.registry import CODECS

__all__ = ["CODECS", "Availability", "Codec", "Context", "ModelCodec", "Rate", "SetCodec", "StreamLayout"]

"""The codec interface, the registry, and one module (or folder) per codec."""

from gcbench.codecs.base import Availability, Codec, Context, ModelCodec, Rate, SetCodec, StreamLayout
from gcbench.codecs.registry import CODECS

__all__ = ["CODECS", "Availability", "Codec", "Context", "ModelCodec", "Rate", "SetCodec", "StreamLayout"]

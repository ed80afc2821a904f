"""Any OpenAI-compatible model as annotator, judge or analyst: asked once, paid for once."""

from dfa_lib.endpoint.client import Endpoint
from dfa_lib.endpoint.contract import Answer, Ceiling, Estimate, Prices, Request

__all__ = ["Answer", "Ceiling", "Endpoint", "Estimate", "Prices", "Request"]

"""The catalogue: every method by its name. To add one, write its file and name it here."""

from __future__ import annotations

from protege.methods.ab import AB
from protege.methods.at import AT
from protege.methods.base import Batch, Classifier, Method, Outputs, Progress, Shapes
from protege.methods.byot import BYOT
from protege.methods.catkd import CATKD
from protege.methods.cc import CC
from protege.methods.crd import CRD
from protege.methods.ctkd import CTKD
from protege.methods.dist import DIST
from protege.methods.dkd import DKD
from protege.methods.dml import DML
from protege.methods.feature import Feature
from protege.methods.fitnet import FitNet
from protege.methods.fsp import FSP
from protege.methods.ft import FT
from protege.methods.kd import KD
from protege.methods.lookup import METHODS, AnyMethod, fingerprint, parse_method, resolve
from protege.methods.ls import LS
from protege.methods.luminet import LumiNet
from protege.methods.mlkd import MLKD
from protege.methods.multi import Multi
from protege.methods.nkd import NKD
from protege.methods.nst import NST
from protege.methods.ofd import OFD
from protege.methods.pkt import PKT
from protege.methods.reviewkd import ReviewKD
from protege.methods.rkd import RKD
from protege.methods.rld import RLD
from protege.methods.sdd import SDD
from protege.methods.semckd import SemCKD
from protege.methods.simkd import SimKD
from protege.methods.sp import SP
from protege.methods.srrl import SRRL
from protege.methods.sum import Sum
from protege.methods.supervised import Supervised
from protege.methods.tfkd import TfKD
from protege.methods.ttm import TTM
from protege.methods.uncertainty import Uncertainty
from protege.methods.vid import VID
from protege.methods.wsld import WSLD

METHODS |= {
    "supervised": Supervised,
    # what the teacher says
    "kd": KD,
    "dkd": DKD,
    "nkd": NKD,
    "dist": DIST,
    "ls": LS,
    "ctkd": CTKD,
    "mlkd": MLKD,
    "luminet": LumiNet,
    "rld": RLD,
    "ttm": TTM,
    "wsld": WSLD,
    "uncertainty": Uncertainty,
    # what the teacher sees on the way
    "feature": Feature,
    "fitnet": FitNet,
    "at": AT,
    "fsp": FSP,
    "nst": NST,
    "vid": VID,
    "ft": FT,
    "ab": AB,
    "ofd": OFD,
    "reviewkd": ReviewKD,
    "semckd": SemCKD,
    "catkd": CATKD,
    "sdd": SDD,
    "srrl": SRRL,
    "simkd": SimKD,
    # how examples stand to each other
    "sp": SP,
    "cc": CC,
    "pkt": PKT,
    "rkd": RKD,
    "crd": CRD,
    # several teachers, or several methods
    "multi": Multi,
    "sum": Sum,
    # no teacher
    "tfkd": TfKD,
    "byot": BYOT,
    "dml": DML,
}

__all__ = [
    "METHODS",
    "AnyMethod",
    "Batch",
    "Classifier",
    "Method",
    "Outputs",
    "Progress",
    "Shapes",
    "fingerprint",
    "parse_method",
    "resolve",
]

"""OpenVINO's own two files, of an ONNX file, and what runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protege.errors import ModelError
from protege.lazy import need
from protege.runs import whole
from protege.ship.about import read_about
from protege.ship.runtimes import Runtime, contents, first_words


def converted(source: Path, path: Path) -> None:
    """`path` (.xml) and the weights beside it (.bin), with the metadata of `source` inside."""
    import onnx

    library = need("openvino", "openvino", "An OpenVINO file")
    model = library.convert_model(source)
    for one in onnx.load(source).metadata_props:
        model.set_rt_info(one.value, ["protege", one.key])
    with whole(path.with_suffix(".bin")) as weights:
        named = weights.with_name(f"{weights.name}.xml")  # its weights take the same name with .bin
        library.save_model(model, named, compress_to_fp16=False)
        named.with_suffix(".bin").replace(weights)
        with whole(path) as partial:
            named.replace(partial)


class InOpenVino(Runtime):
    """An .xml file that protege wrote, with its .bin beside it."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        library = need("openvino", "openvino", f"Running {path.name}")
        for part in (path, path.with_suffix(".bin")):  # regular files, which nobody waits for
            contents(part)
        core = library.Core()
        try:
            model = core.read_model(path)
            kept = model.get_rt_info(["protege"]).value if model.has_rt_info(["protege"]) else {}
            settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
            if threads:
                settings["INFERENCE_NUM_THREADS"] = str(threads)
            self.model = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise ModelError(f"{path} is damaged, or no OpenVINO file: {first_words(error)}") from error
        about = read_about({key: str(getattr(one, "value", one)) for key, one in dict(kept).items()}, str(path))
        if about is None:
            raise ModelError(f"{path} does not say what it takes: protege runs the .xml files that it exported.")
        self.about, self.name = about, f"openvino {library.__version__.partition('-')[0]}"
        self.path, self.request = path, self.model.create_infer_request()
        self.refuse_other_answers(path)

    def output(self, given: Any) -> npt.NDArray[Any]:
        try:
            return np.array(next(iter(self.request.infer([given], share_inputs=True).values())))
        except Exception as error:  # whatever is in the file
            raise ModelError(f"{self.path} fails on an image: {first_words(error)}") from error

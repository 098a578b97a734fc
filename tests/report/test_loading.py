"""Snippets say what is in the file and on the device, and no name in a file becomes code."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import edgeprune
from edgeprune.cli import cli
from edgeprune.core.errors import OutputError, ProfileError, TfliteError
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.profile import load_profile
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.loading import firmware
from edgeprune.report.loading.snippet import snippet, snippets
from edgeprune.report.loading.source_text import class_name, comment, function_prefix, literal
from edgeprune.report.loading.ways import LANGUAGES, languages_of, ways_of
from edgeprune.report.report import Report
from edgeprune.targets.vela.target import VELA_PACKAGE
from edgeprune.tflite.class_names import read_class_names
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.loading import MANIFEST, NAMES, classifier
from tests.support.packing import mixed_net, packed
from tests.support.tflite_builder import Net, dense_net, prune


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither TFLite Micro nor Arm's compiler, which slow tests ask."""
    monkeypatch.setattr(firmware, "measured_arena", lambda _: None)
    missing = replace(VELA_PACKAGE, name="edgeprune-no-such-package")
    monkeypatch.setattr(firmware, "VELA_PACKAGE", missing)


def flat(text: str) -> str:
    """A text without its line breaks and marks of comments."""
    return " ".join(line.lstrip("/# ").strip() for line in text.splitlines())


def test_every_shipped_device_has_the_languages_in_which_people_load_files_there() -> None:
    found = {name: languages_of(ways_of(load_profile(name))) for name in profile_names()}
    phone = ("kotlin", "java", "cpp", "python")
    assert found == {
        "android-phone": ("kotlin", "java", "cpp"),
        "android-phone-2023": ("kotlin", "java", "cpp"),
        "arm-neon-int8": phone,
        "cortex-m-tflm": ("cpp", "c"),
        "edge-tpu": ("python", "cpp"),
        "ethos-u55": ("cpp", "c"),
        "ethos-u85": ("cpp", "c"),
        "raspberry-pi-4": ("python", "cpp"),
        "raspberry-pi-5": ("python", "cpp"),
        "xnnpack-arm64": phone,
        "xnnpack-x86": ("python", "cpp"),
    }


@pytest.mark.parametrize(
    ("device", "language"),
    [
        ("pixel 8", "kotlin"),
        ("xnnpack-arm64", "kotlin"),
        ("aws graviton2", "python"),
        ("raspberry pi zero 2 w", "python"),
        ("iphone 15", "cpp"),
    ],
)
def test_a_product_decides_the_language_of_a_profile_for_several_kinds(
    device: str, language: str, tmp_path: Path
) -> None:
    assert snippet(classifier(tmp_path / "m.tflite"), device).language == language


@pytest.mark.parametrize(
    ("device", "language", "known"),
    [
        ("cortex-m-tflm", "kotlin", "cpp, c. Received: kotlin."),
        ("raspberry-pi-5", "c", "python, cpp. Received: c."),
        ("android-phone", "kotlim", "Received: kotlim. Did you mean 'kotlin'?"),
        ("aws graviton2", "java", "python, cpp. Received: java."),
    ],
)
def test_a_language_that_makes_no_sense_there_is_bad_input_with_those_that_do(
    device: str, language: str, known: str, tmp_path: Path
) -> None:
    path = classifier(tmp_path / "m.tflite")
    with pytest.raises(ProfileError) as raised:
        snippet(path, device, language=language)
    assert known in str(raised.value)
    done = CliRunner().invoke(
        cli, ["snippet", str(path), "--device", device, "--language", language]
    )
    assert done.exit_code == 2
    assert done.stdout == ""


DEVICE_OF = {
    "kotlin": "android-phone",
    "java": "android-phone",
    "cpp": "raspberry-pi-5",
    "python": "raspberry-pi-5",
    "c": "cortex-m-tflm",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_scale_and_zero_point_are_those_of_the_file(language: str, tmp_path: Path) -> None:
    def text(**facts: float) -> str:
        path = classifier(tmp_path / "m.tflite", **facts)  # type: ignore[arg-type]
        return snippet(path, DEVICE_OF[language], language=language).text

    one, other = text(), text(scale=0.0125, zero_point=7)
    assert "round(x / 0.007843138) - 1, from -128 to 127" in flat(one)
    assert "round(x / 0.0125) + 7, from -128 to 127" in flat(other)
    assert one.count("0.007843138") >= 3
    assert other.count("0.0125") >= 3
    assert "0.0125" not in one
    assert "q means (q - 5) * 0.1" in flat(one)
    assert "pixels from 0 to 255 become (x - 127.5) / 127.5" in flat(one)
    assert "assumed" not in one


@pytest.mark.parametrize("language", LANGUAGES)
def test_how_pixels_become_inputs_is_what_the_manifest_says(language: str, tmp_path: Path) -> None:
    by = [[103.5, 116.25, 123.75], [57.5, 57.25, 58.5], "bgr"]
    path = classifier(tmp_path / "m.tflite", manifest={**MANIFEST, "scale": {"x0": by}})
    text = snippet(path, DEVICE_OF[language], language=language).text
    assert "[103.5, 116.25, 123.75]) / [57.5, 57.25, 58.5] in the order BGR" in flat(text)
    code = "\n".join(line for line in text.splitlines() if not line.startswith(("//", "#")))
    assert all(number in code for number in ("103.5", "116.25", "123.75", "57.25"))
    unknown = classifier(tmp_path / "u.tflite", manifest=None)
    said = flat(snippet(unknown, DEVICE_OF[language], language=language).text)
    assert "127.5 (assumed: the file does not say)" in said


def test_firmware_has_exactly_the_operators_of_the_file(tmp_path: Path) -> None:
    def added(path: Path) -> list[str]:
        text = snippet(path, "cortex-m-tflm").text
        return [line.split(".")[1].split("(")[0] for line in text.splitlines() if ".Add" in line]

    assert added(classifier(tmp_path / "m.tflite")) == ["AddFullyConnected"]
    assert added(classifier(tmp_path / "n.tflite", operators=3)) == ["AddRelu", "AddFullyConnected"]
    path = packed(mixed_net(tmp_path / "plain.tflite"), tmp_path / "net.tflite")
    assert added(path) == ["AddDecode", "AddConv2D", "AddDepthwiseConv2D"]
    assert "MicroMutableOpResolver<3> resolver" in snippet(path, "cortex-m-tflm").text
    assert "DECODE of TensorFlow Lite Micro unpacks them" in flat(
        str(snippet(path, "cortex-m-tflm"))
    )


def test_an_arena_that_nothing_measured_is_said_to_be_planned(tmp_path: Path) -> None:
    text = snippet(classifier(tmp_path / "m.tflite"), "cortex-m-tflm", language="c").text
    assert "not measured: 64 bytes of planned buffers and 16384" in flat(text)
    assert "kArenaSize = 16448;" in text


def test_a_custom_operator_that_the_resolver_does_not_know_stops_the_build(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    net.operator("CUSTOM", [x], [y], custom_code=b'my "own\n#define x')
    text = snippet(net.save(tmp_path / "m.tflite", [x], [y]), "cortex-m-tflm").text
    assert "#error \"TensorFlow Lite Micro has no operator my 'own?#define x: add yours" in text


def test_the_runtime_is_the_last_that_the_device_lists_and_the_first_that_does(
    tmp_path: Path,
) -> None:
    path = classifier(tmp_path / "m.tflite")
    kotlin = snippet(path, "android-phone")
    assert 'implementation("com.google.ai.edge.litert:litert:2.3.0")' in kotlin.text
    assert kotlin.needs[0].startswith("LiteRT 2.1.6 or later")
    python = snippet(path, "xnnpack-x86").text
    assert 'pip install "ai-edge-litert>=2.3.0" numpy pillow' in python
    cpp = snippet(path, "raspberry-pi-5", language="cpp").parts[0].text
    assert "GIT_REPOSITORY https://github.com/google-ai-edge/LiteRT.git\n  GIT_TAG v2.3.0\n" in cpp
    assert "CMAKE_CXX_STANDARD 20" in cpp
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    net.operator("RELU", [x], [y], 99)
    needs = snippet(net.save(tmp_path / "n.tflite", [x], [y]), "raspberry-pi-5").needs
    assert any("LiteRT 2.3.0 does not run it: RELU version 99" in need for need in needs)


def test_a_delegate_is_loaded_with_the_file_that_its_compiler_writes(tmp_path: Path) -> None:
    path = classifier(tmp_path / "my net.tflite")
    text = snippet(path, "edge-tpu").text
    assert "# edgetpu_compiler -s 'my net.tflite'\n" in text
    assert 'model_path="my net_edgetpu.tflite"' in text
    assert 'load_delegate("libedgetpu.so.1")' in text
    cpp = snippet(path, "edge-tpu", language="cpp").text
    assert 'TfLiteExternalDelegateOptionsDefault("libedgetpu.so.1")' in cpp
    assert '#include "tensorflow/lite/interpreter.h"' in cpp
    assert "GIT_TAG v2.14.0" in cpp
    assert "CMAKE_CXX_STANDARD 17" in cpp
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    net.operator("CUSTOM", [x], [y], custom_code=b"edgetpu-custom-op")
    done = snippet(net.save(tmp_path / "done.tflite", [x], [y]), "edge-tpu").text
    assert 'model_path="done.tflite"' in done
    assert "edgetpu_compiler" not in done


def test_braces_and_quotes_in_a_profile_of_ones_own_stay_what_they_are(tmp_path: Path) -> None:
    own = load_profile("edge-tpu")
    assert own.delegate is not None
    named = {"compile": "x {y} {model}", "compiled": "{0}{stem}.out", "library": 'a"b\\c.so'}
    changed = own.model_copy(update={"delegate": own.delegate.model_copy(update=named)})
    text = snippet(classifier(tmp_path / "m.tflite"), changed).text
    assert "# x {y} m.tflite\n" in text
    assert 'model_path="{0}m.out"' in text
    assert 'load_delegate("a\\"b\\\\c.so")' in text


def test_an_npu_has_its_compiler_and_the_array_of_what_that_writes(tmp_path: Path) -> None:
    text = snippet(classifier(tmp_path / "net.tflite"), "ethos-u55").text
    assert "vela net.tflite --accelerator-config ethos-u55-256 --config Arm/vela.ini" in text
    assert "--system-config Ethos_U55_High_End_Embedded --memory-mode Shared_Sram" in text
    assert "AddEthosU()" in text
    assert "compiled=Path(sys.argv[2]))' net.tflite net_vela.tflite" in text
    assert "GetModel(g_net_data)" in text
    assert '#include "net.h"' in text


def test_sparse_weights_are_said_on_top_and_that_firmware_misreads_them(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "dense.tflite", prune(np.ones((64, 64), np.float32), 0.95, (1, 4)))
    encode_file(path, EncodingRules(), tmp_path / "sparse.tflite")
    said = [
        snippet(tmp_path / "sparse.tflite", each).needs for each in ("pixel 8", "cortex-m-tflm")
    ]
    assert any("XNNPACK's sparse kernels skip the zeros" in need for need in said[0])
    assert any("which firmware misreads; `edgeprune densify`" in need for need in said[1])
    assert not any("sparsely" in need for need in snippet(path, "pixel 8").needs)


def test_half_precision_is_said_on_top(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    net.operator("RELU", [x], [y])
    net.metadata("reduced_precision_support", b"fp16accfp16")
    path = net.save(tmp_path / "m.tflite", [x], [y])
    asked = "The file allows half precision (reduced_precision_support in its metadata)"
    assert asked in flat(snippet(path, "android-phone").text)
    assert asked not in flat(snippet(classifier(path), "android-phone").text)


def test_a_file_for_measuring_only_says_so(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite", manifest={**MANIFEST, "measuring_only": True})
    assert "measuring only" in snippet(path, "raspberry-pi-5").needs[0]


@pytest.mark.parametrize("language", ["kotlin", "java", "cpp", "python"])
def test_labels_are_those_of_the_file_in_code_or_beside_it(language: str, tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite", names=['a "b"', "$x", "c\\n"])
    text = snippet(path, DEVICE_OF[language], language=language).text
    dollar = '"\\$x"' if language == "kotlin" else '"$x"'
    assert f'"a \\"b\\"", {dollar}, "c\\\\n"' in text
    none = classifier(tmp_path / "n.tflite", names=())
    assert "labels" not in snippet(none, DEVICE_OF[language], language=language).text


def test_label_files_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite")
    assert read_class_names(path) == NAMES
    content = path.read_bytes()
    path.write_bytes(content.replace(b"labels.txt", b"labelz.txt"))
    assert read_class_names(path) == ()
    path.write_bytes(content[:-30])
    assert read_class_names(path) == ()
    path.write_bytes(content.replace(b"ant\nbee", b"ant\nbex"))
    assert read_class_names(path) == ()


@given(st.text(max_size=30))
def test_names_in_comments_stay_comments_and_literals_are_read_back(text: str) -> None:
    assert len(comment(text).splitlines()) <= 1
    assert "\\" not in comment(text)
    read = ast.literal_eval(literal(text, "python"))
    assert read == "".join(c if c.isprintable() else "?" for c in text)
    assert class_name(text).isidentifier()
    assert function_prefix(text).isidentifier()


def test_a_hostile_name_of_a_tensor_stays_in_its_comment(tmp_path: Path) -> None:
    evil = "x\nimport os\n\\u000aint evil;"
    path = classifier(tmp_path / "m.tflite", tensor=evil, names=())
    draft_names = [snippet(path, DEVICE_OF[each], language=each).text for each in LANGUAGES]
    for text in draft_names:
        assert not any(line.startswith(("import os", "int evil")) for line in text.splitlines())
        assert "\\u000a" not in text


def test_every_snippet_in_python_is_valid_python(tmp_path: Path) -> None:
    net = Net()
    tensors = [
        *(
            net.tensor(f"x{n}", (1, 3), kind)
            for n, kind in enumerate(("float32", "int32", "int64"))
        ),
        net.tensor("picture", (1, 2, 2, 1)),
        net.tensor("bytes", (1, 2, 2, 3), "uint8", scales=[0.5], zero_point=128),
        net.tensor("raw", (1, 2, 2, 3), "uint8"),
        net.tensor("ids", (1, 2, 2, 3), "int32", scales=[0.5]),
    ]
    y = net.tensor("y", (1, 3))
    net.operator("RELU", [tensors[0]], [y])
    path = net.save(tmp_path / "m.tflite", tensors, [y])
    text = snippet(path, "xnnpack-x86").text
    ast.parse(text)
    assert 'Image.open(sys.argv[1]).convert("L")' in text
    assert 'Image.open(sys.argv[2]).convert("RGB")' in text
    assert flat(text).count("RGB pixels from 0 to 255 are its numbers") == 2
    assert "x = np.zeros([1, 2, 2, 3], np.int32)  # your values" in text


@pytest.mark.parametrize(("dtype", "scales"), [("string", ()), ("float16", ()), ("int8", (0.0,))])
def test_an_input_that_no_program_can_fill_is_refused_by_name(
    dtype: str, scales: tuple[float, ...], tmp_path: Path
) -> None:
    net = Net()
    x, y = net.tensor("words", (1, 4), dtype, scales=scales), net.tensor("y", (1, 4))
    net.operator("RELU", [x], [y])
    with pytest.raises(TfliteError, match=f"'x0'.*Received: {dtype}"):
        snippet(net.save(tmp_path / "m.tflite", [x], [y]), "raspberry-pi-5")


def test_a_name_that_no_header_can_have_is_bad_input_for_firmware(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="named after it"):
        snippet(classifier(tmp_path / 'a"b.tflite'), "cortex-m-tflm")


def test_the_command_prints_the_text_and_its_document_has_the_same(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite")
    arguments = ["snippet", str(path), "--device", "cortex-m-tflm", "--language", "c"]
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exit_code == 0, shown.output
    found = edgeprune.snippet(path, "cortex-m-tflm", language="c")
    assert shown.stdout == found.text == f"{found}\n"
    document = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert document == found.to_json()
    assert [part["name"] for part in document["files"]] == [
        *("prepare.sh", "m_run.h", "m_run.cc", "main.c"),
    ]
    assert document["route"] == "latency"


def test_a_file_is_on_the_route_of_its_manifest_or_on_the_one_asked_for(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite")
    assert snippet(path, "raspberry-pi-5").route == "int8"
    assert snippet(path, "raspberry-pi-5", route="int8-channels").route == "int8-channels"
    with pytest.raises(ProfileError, match="unknown route 'int9'"):
        snippet(path, "raspberry-pi-5", route="int9")


def test_all_languages_of_a_device_come_the_usual_first(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite")
    found = snippets(path, load_profile("xnnpack-arm64"), None)
    assert [each.language for each in found] == ["kotlin", "java", "cpp", "python"]
    assert found[0] == snippet(path, "xnnpack-arm64")


def test_the_page_of_a_report_has_the_same_code_in_every_language(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.tflite", names=["<script>", "b", "c"])
    found = snippets(path, load_profile("xnnpack-arm64"), None)
    device = DeviceReport("xnnpack-arm64", "it skips zeros", loading=found)
    page = Report("m.keras", (device,)).to_html()
    shown = [unescape(code) for code in re.findall("<code>(.*?)</code>", page, re.DOTALL)]
    assert shown == [part.text for each in found for part in each.parts]
    assert "<summary>C++: CMakeLists.txt, main.cc</summary>" in page
    assert page.count("<h3>How to load it</h3>") == 1
    assert "How to load it" not in Report("m.keras", (replace(device, loading=()),)).to_html()

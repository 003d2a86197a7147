"""Builds an ONNX graph from Python expressions."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Value:
    """A tensor of a graph, with Python's operators. Each operator adds a node.

    A Python int becomes an int64 constant, a float a float32 constant.
    """

    def __init__(self, graph: "Graph", name: str) -> None:
        self.graph, self.name = graph, name

    def _with(self, operation, other):
        return self.graph.add(operation, self, other)

    def __add__(self, other: Any) -> "Value":
        return self._with("Add", other)

    def __sub__(self, other: Any) -> "Value":
        return self._with("Sub", other)

    def __mul__(self, other: Any) -> "Value":
        return self._with("Mul", other)

    def __truediv__(self, other: Any) -> "Value":
        return self._with("Div", other)

    def __floordiv__(self, other: Any) -> "Value":
        """Divides integers, rounding toward zero."""
        return self._with("Div", other)

    def __gt__(self, other: Any) -> "Value":
        return self._with("Greater", other)

    def __ge__(self, other: Any) -> "Value":
        return self._with("GreaterOrEqual", other)

    def __lt__(self, other: Any) -> "Value":
        return self._with("Less", other)

    def __and__(self, other: Any) -> "Value":
        return self._with("And", other)

    def equals(self, other: Any) -> "Value":
        """Compares element by element."""
        return self._with("Equal", other)

    def cast(self, to: int) -> "Value":
        """Converts to another type, such as TensorProto.FLOAT."""
        return self.graph.add("Cast", self, to=to)

    def reshape(self, *sides: "int | Value") -> "Value":
        """Changes the shape. A side of 0 stays as it is, and one side may be -1."""
        return self.graph.add("Reshape", self, self.graph.shape_of(*sides))

    def transpose(self, *order: int) -> "Value":
        """Reorders the axes."""
        return self.graph.add("Transpose", self, perm=list(order))

    def side(self, axis: int) -> "Value":
        """Returns the length of an axis, (1,) int64."""
        return self.graph.add("Slice", self.graph.add("Shape", self), [axis], [axis + 1])

    def columns(self, start: int, stop: int) -> "Value":
        """Returns a part of the last axis."""
        return self.graph.add("Slice", self, [start], [stop], [-1])

    def take(self, indices: Any, axis: int = 0) -> "Value":
        """Gathers along an axis."""
        return self.graph.add("Gather", self, indices, axis=axis)

    def take_per_image(self, indices: "Value") -> "Value":
        """Gathers along axis 1, in each image of axis 0: (B, N, ...), (B, k) -> (B, k, ...)."""
        return self.graph.add("GatherND", self, indices.unsqueeze(2), batch_dims=1)

    def unsqueeze(self, *axes: int) -> "Value":
        """Adds axes of length 1."""
        return self.graph.add("Unsqueeze", self, list(axes))


class Graph:
    """Collects the nodes, constants, inputs and outputs of an ONNX model.

    Args:
        opset: int. Version of ONNX' set of operations.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._names: set[str] = set()
        self._shared: dict[Any, Value] = {}
        self._scope = ""

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Inside, names of nodes begin with `name` and a slash."""
        before, self._scope = self._scope, f"{self._scope}{name}/"
        try:
            yield
        finally:
            self._scope = before

    def add(
        self, operation: str, *inputs: Any, name: str = "", outputs: int = 1, **attributes: Any
    ) -> Any:
        """Adds a node.

        Args:
            operation: str. Name of the ONNX operation.
            *inputs: Values, or NumPy arrays, numbers and lists, which become constants. None is an
                input that is left out.
            name: str. Name of the node; by default that of the operation.
            outputs: int. Number of outputs.
            **attributes: the node's attributes.

        Returns:
            The output's Value, or a tuple of several.
        """
        name = self._unique(self._scope + (name or operation))
        names = [name] if outputs == 1 else [f"{name}:{i}" for i in range(outputs)]
        given = ["" if x is None else self.value(x).name for x in inputs]
        self.nodes.append(helper.make_node(operation, given, names, name=name, **attributes))
        values = tuple(Value(self, output) for output in names)
        return values[0] if outputs == 1 else values

    def value(self, content: Any) -> Value:
        """Returns a Value unchanged, and makes a constant of anything else."""
        if isinstance(content, Value):
            return content
        array = np.asarray(content)
        if array.dtype == np.float64 and not isinstance(content, np.ndarray | np.float64):
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        return self.constant(array, key, "constant")

    def constant(self, array: np.ndarray, key: Any, name: str) -> Value:
        """Returns a constant; the same `key` gives the same one."""
        if key not in self._shared:
            unique = self._unique(name)
            array = np.ascontiguousarray(array).reshape(array.shape)
            self.constants[unique] = numpy_helper.from_array(array, unique)
            self._shared[key] = Value(self, unique)
        return self._shared[key]

    def input(self, name: str, dtype: int, shape: list[Any], default: Any = None) -> Value:
        """Adds an input of the model.

        Args:
            name: str.
            dtype: int. Such as TensorProto.FLOAT.
            shape: list of int, or str for a side that may vary.
            default: array or None. The value if a caller gives none.

        Returns:
            Value.
        """
        self._names.add(name)
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        if default is not None:
            self.constants[name] = numpy_helper.from_array(default, name)
        return Value(self, name)

    def output(self, name: str, value: Value, dtype: int, shape: list[Any]) -> None:
        """Adds an output of the model."""
        self._names.add(name)
        self.nodes.append(
            helper.make_node("Identity", [value.name], [name], name=f"outputs/{name}")
        )
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def either(self, condition: Value, then: Any, otherwise: Any) -> Value:
        """Runs one of two functions without arguments, by a () bool; each returns a Value."""
        branches = []
        for name, branch in (("then", then), ("otherwise", otherwise)):
            before, self.nodes = self.nodes, []
            with self.scope(name):
                result = branch()
            body, self.nodes = self.nodes, before
            # A branch must own its output, also if the function returns a Value from outside.
            output = self._unique(f"{self._scope}{name}/result")
            body.append(helper.make_node("Identity", [result.name], [output], name=output))
            info = helper.make_empty_tensor_value_info(output)
            branches.append(helper.make_graph(body, name, [], [info]))
        return self.add("If", condition, then_branch=branches[0], else_branch=branches[1])

    def loop(self, count: Value, start: Value, step: Any) -> Value:
        """Repeats a function of a counter and a running value, which returns its next value.

        Args:
            count: (1,) int64.
            start: Value. The first running value.
            step: function of () int64 and a Value like `start`.

        Returns:
            The last running value.
        """
        before, self.nodes = self.nodes, []
        with self.scope("loop"):
            names = [self._unique(f"{self._scope}{x}") for x in ("i", "go", "value", "on")]
            i, go, value = (Value(self, name) for name in names[:3])
            result = step(i, value)
        body, self.nodes = self.nodes, before
        body.append(helper.make_node("Identity", [go.name], [names[3]], name=names[3]))
        inputs = [
            helper.make_tensor_value_info(i.name, INT64, []),
            helper.make_tensor_value_info(go.name, BOOL, []),
            helper.make_empty_tensor_value_info(value.name),
        ]
        outputs = [
            helper.make_tensor_value_info(names[3], BOOL, []),
            helper.make_empty_tensor_value_info(result.name),
        ]
        inner = helper.make_graph(body, "step", inputs, outputs)
        return self.add("Loop", self.add("Squeeze", count, [0]), None, start, body=inner)

    def shape_of(self, *sides: "int | Value") -> Value:
        """Makes a shape of ints and of Values (1,) int64."""
        if all(isinstance(side, int) for side in sides):
            return self.value(list(sides))
        parts = [side if isinstance(side, Value) else [side] for side in sides]
        return self.add("Concat", *parts, axis=0)

    def full(self, number: float, *sides: "int | Value") -> Value:
        """Makes a float32 tensor of one value."""
        value = numpy_helper.from_array(np.array([number], np.float32))
        return self.add("ConstantOfShape", self.shape_of(*sides), value=value)

    def range(self, count: Value) -> Value:
        """Returns 0, 1, ..., count - 1 as int64, for a `count` (1,) int64."""
        return self.add("Range", 0, self.add("Squeeze", count, [0]), 1)

    def where(self, condition: Value, value: Any, otherwise: Any) -> Value:
        """Chooses element by element."""
        return self.add("Where", condition, value, otherwise)

    def places(self, condition: Value) -> Value:
        """Returns the places where a bool tensor is true: (n, rank) int64."""
        return self.add("NonZero", condition).transpose(1, 0)

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """Makes the model.

        Args:
            metadata: dict of str to str. The model's metadata properties.

        Returns:
            onnx.ModelProto.
        """
        graph = helper.make_graph(
            self.nodes, "mask_rcnn", self.inputs, self.outputs, list(self.constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name="keras_maskrcnn",
        )
        model.ir_version = IR_VERSION
        helper.set_model_props(model, metadata)
        return model

    def _unique(self, name):
        unique, i = name, 1
        while unique in self._names:
            unique, i = f"{name}_{i}", i + 1
        self._names.add(unique)
        return unique


# Of ONNX 1.14, May 2023; it has everything that is used here, and older runtimes read it.
IR_VERSION = 9
FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
UINT8, UINT16 = TensorProto.UINT8, TensorProto.UINT16
DOUBLE, BOOL = TensorProto.DOUBLE, TensorProto.BOOL

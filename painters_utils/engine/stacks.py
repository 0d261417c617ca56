"""A transformer's stacks of blocks: find them, and put other blocks in their place for a while.

A diffusers DiT runs `for block in self.transformer_blocks: ...`. Everything this project does to a
model, reordering its layers or recording them, is therefore a matter of handing that loop another list.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from torch import nn

from painters_utils.errors import InputError, unknown


def find_stacks(transformer: nn.Module) -> dict[str, nn.ModuleList]:
    """The transformer's stacks by attribute name, in the order in which they run.

    A stack is a `ModuleList` held directly by the transformer whose blocks are all of one class and hold an attention
    (`transformer_blocks`, `single_transformer_blocks`, `joint_transformer_blocks`). Lists of other parts, such as one
    projection for each text encoder, are none; only where no block holds an attention is every such list a stack.
    Always the model's own blocks, also while `in_place_of` shows others.
    """
    if not isinstance(transformer, nn.Module):
        remedy = "give its transformer" if hasattr(transformer, "transformer") else "give a transformer of torch"
        raise InputError(f"{type(transformer).__name__} holds no blocks itself: {remedy}")
    lists = {
        name: child
        for name, child in transformer.named_children()
        if isinstance(child, nn.ModuleList) and len({type(block) for block in child}) == 1
    }
    attend = {
        name: blocks
        for name, blocks in lists.items()
        if any("att" in part.lower() for part, _ in blocks[0].named_modules())
    }
    stacks = attend or lists
    if not stacks:
        has = ", ".join(f"{name} ({type(child).__name__})" for name, child in transformer.named_children())
        raise InputError(
            f"{type(transformer).__name__} has no list of blocks to work on: give a DiT such as FLUX or SD3 (found: "
            f"{has or 'no parts'})"
        )
    return stacks


# Transformers that give each position of their stacks something of its own: a modulation (Chroma), a layer of the text
# encoder (HiDream, Bria Fibo), a kind of attention, a partner in another stack. `architectures.py` finds them out.
POSITIONED = (
    "AceStepTransformer1DModel", "BriaFiboTransformer2DModel", "ChromaTransformer2DModel", "ConsisIDTransformer3DModel",
    "HiDreamImageTransformer2DModel", "LatteTransformer3DModel", "WanAnimateTransformer3DModel",
    "WanVACETransformer3DModel",
)  # fmt: skip


def keeps_places(transformer: nn.Module) -> bool:
    """Whether the transformer's layers can be left out only, because each position has something of its own."""
    return type(transformer).__name__ in POSITIONED


def get_stack(transformer: nn.Module, stack: str) -> nn.ModuleList:
    """The model's own blocks of one stack; `InputError` names the stacks there are if it is unknown."""
    stacks = find_stacks(transformer)
    if stack not in stacks:
        raise unknown("stack", stack, stacks)
    return stacks[stack]


@dataclass(frozen=True)
class Window:
    """A hook that lays the lists of some steps before every pass."""

    stacks: set[str]
    lay: Callable[[], None]

    def __call__(self, *_: object) -> None:
        self.lay()


@contextmanager
def in_place_of(
    transformer: nn.Module, blocks: Mapping[str, Sequence[nn.Module]], steps: range | None = None, of: int | None = None
) -> Iterator[None]:
    """Let the transformer's forward run `blocks[stack]` instead of its own; undone on exit, also on error.

    With `steps`, only in those of every `of` forward passes, counted from 0 when the context opens.

    The lists are laid over the attribute in the instance's `__dict__`, which Python reads before
    `nn.Module` looks among the registered children. So `state_dict`, `parameters` and `.to` see the
    untouched model even inside the context, nothing is copied, and a call costs what it always did.
    Nested contexts restore what they found. `InputError` inside one of some steps only of the same stack, which would
    lay its lists again at every pass.
    """
    if any(isinstance(hook, Window) and hook.stacks & set(blocks) for hook in transformer._forward_pre_hooks.values()):
        raise InputError("an order of some steps only is open: close it first, nothing can be laid inside it")
    found = {stack: vars(transformer).get(stack) for stack in blocks}
    laid = {stack: nn.ModuleList(modules) for stack, modules in blocks.items()}
    passes = count()

    def lay(lists: Mapping[str, nn.ModuleList | None]) -> None:
        for stack, modules in lists.items():
            if modules is None:
                vars(transformer).pop(stack, None)
            else:
                vars(transformer)[stack] = modules

    hook = None
    try:
        if steps is None:
            lay(laid)
        else:
            choose = Window(set(blocks), lambda: lay(laid if next(passes) % (of or 1) in steps else found))
            hook = transformer.register_forward_pre_hook(choose, prepend=True)
        yield
    finally:
        if hook is not None:
            hook.remove()
        lay(found)

from .engine.bands import Band as Band, Bands as Bands, find_bands as find_bands
from .engine.describe import describe as describe, short as short
from .engine.orders import check_order as check_order
from .engine.rearrange import layer_order as layer_order
from .engine.recorder import record_activations as record_activations
from .engine.recording import Recording as Recording
from .engine.stacks import find_stacks as find_stacks
from .engine.strategies import build_order as build_order, middle_band as middle_band
from .errors import InputError as InputError
from .measure.intervals import interval as interval, percent as percent, with_interval as with_interval
from .measure.pictures import change as change
from .models.loading import load_pipeline as load_pipeline
from .models.model import Model as Model
from .models.painting import Picture as Picture, paint as paint
from .show.figures import (
    heatmaps as heatmaps,
    picture_rows as picture_rows,
    say as say,
    show as show,
    show_table as show_table,
)
from .study.experiments import EXPERIMENTS as EXPERIMENTS, Experiment as Experiment, experiment as experiment
from .study.numbers import read_numbers as read_numbers, save_numbers as save_numbers
from .study.recordings import load_or_record as load_or_record
from .study.studio import Studio as Studio
from .study.variants import Variant as Variant, custom_variant as custom_variant
from .study.velocity import VelocityError as VelocityError

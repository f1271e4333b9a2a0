"""Reports of runs: a figure, a self-contained page, and comparisons with all-atom data."""

from flashmd.report.run import IncompleteRunError as IncompleteRunError
from flashmd.report.write import ReportPaths as ReportPaths
from flashmd.report.write import write_report as write_report

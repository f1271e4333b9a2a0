"""Reports of runs: a figure, a self-contained page, and comparisons with all-atom data."""

from flashmd.report.comparison import ComparisonPaths as ComparisonPaths
from flashmd.report.comparison import write_comparison as write_comparison
from flashmd.report.run import IncompleteRunError as IncompleteRunError
from flashmd.report.write import ReportPaths as ReportPaths
from flashmd.report.write import write_report as write_report

"""ros2 launch puvae_ros puvae.launch.py bundle:=out/mnist-native-fp32 image:=/camera/image_raw"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """The node, which configures and activates itself, on one camera's topic."""
    arguments = [
        DeclareLaunchArgument("bundle", default_value="mnist"),
        DeclareLaunchArgument("image", default_value="image"),
    ]
    node = Node(
        package="puvae_ros",
        executable="puvae_node",
        name="puvae",
        output="screen",
        parameters=[{"bundle": LaunchConfiguration("bundle")}],
        remappings=[("image", LaunchConfiguration("image"))],
    )
    return LaunchDescription([*arguments, node])
